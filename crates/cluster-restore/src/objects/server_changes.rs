//! Differences between an object as it was sent and as the API server stored it.

use serde_json::Value;

use super::messages::sentence;
use super::{MAX_FIELDS, ObjectWrite};
use crate::desired::comparable;
use crate::merge::{merge, named, touched};

/// Reports which fields of `body` a custom kind's definition dropped or filled in; `None` if there are none.
pub(super) fn server_changes(turn: &ObjectWrite<'_>, body: &Value, made: &Value) -> Option<String> {
    if !turn.kind.custom {
        return None;
    }
    let plain = |object: &Value| {
        let mut plain = comparable(object.clone());
        if let Some(fields) = plain.as_object_mut() {
            fields.remove("metadata");
            fields.remove("status");
        }
        plain
    };
    let (body, made) = (plain(body), plain(made));
    let fields = |from: &Value, to: &Value| {
        let patch = merge(None, &named(from, to), to).patch?;
        Some(touched(&patch, MAX_FIELDS).join(", "))
    };
    let lost = fields(&made, &body).map(|f| format!("its definition here does not take {f}"));
    let filled = fields(&body, &made).map(|f| format!("its definition here fills in {f}"));
    let both: Vec<String> = lost.into_iter().chain(filled).collect();
    sentence(&both)
}
