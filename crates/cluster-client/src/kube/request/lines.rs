//! Answers that arrive line by line, such as those of a watch.

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::{BodyDataStream, BodyExt as _};
use kube::client::Body;

use super::Api;
use crate::kube::failure::KubeError;

/// Media type of heads of single objects: name, labels and revision, without values or their sizes.
const HEAD: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Answer that arrives line by line.
pub(in crate::kube) struct LineStream {
    api: Api,
    path: String,
    blocks: BodyDataStream<Body>,
    held: BytesMut,
    /// Bytes already searched for the end of a line.
    seen: usize,
}

impl Api {
    /// Opens the stream of heads of objects from `path`, line by line, for as long as the server sends.
    /// There are no retries.
    pub(in crate::kube) async fn lines(&self, path: &str) -> Result<LineStream, KubeError> {
        let asked = self.ask(path, HEAD);
        let Ok(response) = tokio::time::timeout(self.request_timeout, asked).await else {
            return Err(self.slow(path));
        };
        Ok(LineStream {
            api: self.clone(),
            path: path.to_owned(),
            blocks: response?.into_body().into_data_stream(),
            held: BytesMut::new(),
            seen: 0,
        })
    }
}

impl LineStream {
    /// Returns the next line, at most `most` bytes; `None` at the end.
    pub(in crate::kube) async fn next(&mut self, most: usize) -> Result<Option<Bytes>, KubeError> {
        loop {
            let unseen = self.held.get(self.seen..).unwrap_or_default();
            if let Some(end) = unseen.iter().position(|byte| *byte == b'\n') {
                let end = self.seen.saturating_add(end);
                let line = self.held.split_to(end.saturating_add(1)).freeze();
                self.seen = 0;
                return Ok(Some(line));
            }
            self.seen = self.held.len();
            if self.seen > most {
                let path = self.path.clone();
                return Err(KubeError::TooLarge { path, most });
            }
            match self.blocks.next().await {
                Some(Ok(block)) => self.held.extend_from_slice(&block),
                Some(Err(e)) => return Err(self.api.unreachable(&self.path, e)),
                None => return Ok(None),
            }
        }
    }
}
