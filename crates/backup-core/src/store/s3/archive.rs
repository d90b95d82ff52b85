//! Storage classes and archive tiers of S3, and the way to restore an object from them.

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::StorageClass;

use super::S3Store;
use crate::store::{Access, ArchiveState, Key};

/// Class whose objects S3 moves on its own, also into archives if the bucket is configured so.
const TIERED: &str = "INTELLIGENT_TIERING";

/// Reports whether objects of a class must be restored before they are read. Providers have their own names;
/// classes that they call instant (`GLACIER_IR`) are readable.
fn is_archive(class: &str) -> bool {
    let class = class.to_ascii_uppercase();
    let instant = class.ends_with("_IR") || class.contains("INSTANT");
    !instant && (class.contains("GLACIER") || class.contains("ARCHIVE"))
}

impl S3Store {
    /// Returns the access that a listing reports.
    pub(super) fn listed(&self, key: &Key, class: Option<&str>) -> Access {
        match class {
            Some(TIERED) => Access::Tiered,
            Some(class) if is_archive(class) => Access::Archived(self.archived(key, class, None)),
            _ => Access::AtOnce,
        }
    }

    /// Returns the access that a head reports.
    pub(super) fn access_of_head(&self, key: &Key, head: &HeadObjectOutput) -> Access {
        let class = head.storage_class().map(StorageClass::as_str);
        let class = match (head.archive_status(), class) {
            (Some(tier), _) => tier.as_str(),
            (None, Some(class)) if is_archive(class) => class,
            _ => return Access::AtOnce,
        };
        Access::Archived(self.archived(key, class, head.restore()))
    }

    /// Describes an archived object. `restore` is the state of its restore at S3: `ongoing-request="true"`,
    /// or `"false"` with the time until which its copy can be read.
    pub(super) fn archived(&self, key: &Key, class: &str, restore: Option<&str>) -> ArchiveState {
        let ongoing = |is: &str| {
            let told = format!("ongoing-request=\"{is}\"");
            restore.is_some_and(|restore| restore.contains(&told))
        };
        let remedy = if ongoing("true") {
            "its retrieval was requested and takes up to two days; try again after that".to_owned()
        } else {
            format!("restore the object first: `{}`", self.command(key, class))
        };
        ArchiveState {
            class: class.to_owned(),
            copied: ongoing("false"),
            remedy,
        }
    }

    fn command(&self, key: &Key, class: &str) -> String {
        // An object that S3 archived on its own returns permanently, and S3 refuses a number of days.
        let request = if class.ends_with("_ACCESS") {
            r#"{"GlacierJobParameters":{"Tier":"Standard"}}"#
        } else {
            r#"{"Days":14}"#
        };
        let endpoint = match &self.endpoint {
            Some(endpoint) => format!(" --endpoint-url '{endpoint}'"),
            None => String::new(),
        };
        format!(
            "aws s3api restore-object{endpoint} --bucket '{}' --key '{}' --restore-request '{request}'",
            self.bucket,
            self.full(key)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{TIERED, is_archive};

    #[test]
    fn classes_that_must_be_restored_are_known() {
        for class in ["GLACIER", "DEEP_ARCHIVE", "ARCHIVE_ACCESS", "ColdArchive"] {
            assert!(is_archive(class), "{class}");
        }
        for class in [
            "STANDARD",
            "GLACIER_IR",
            "STANDARD_IA",
            TIERED,
            "ONEZONE_IA",
            "",
        ] {
            assert!(!is_archive(class), "{class}");
        }
    }
}
