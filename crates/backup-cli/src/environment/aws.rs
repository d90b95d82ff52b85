//! AWS variables that are checked here before the SDK reads them: leading and trailing white space, as files
//! and `echo` leave it, is removed, and values that cannot be sent are refused with the name of the variable.

use url::Url;

/// Credentials that are sent in headers and signatures.
const CREDENTIALS: [&str; 3] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
];
const REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

/// Values of the AWS variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aws {
    /// `AWS_REGION`, or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`, or `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Problem with one variable, with its name and without its value.
    pub wrong: Option<String>,
}

impl Aws {
    /// Reads the variables through `get`.
    pub(super) fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let find = |name: &&str| {
            let value = get(name)?.trim().to_owned();
            (!value.is_empty()).then_some((name.to_string(), value))
        };
        let mut wrong = None;
        for (name, value) in CREDENTIALS.iter().filter_map(find) {
            if !value.bytes().all(|b| b.is_ascii_graphic()) {
                let why = "has white space in it, or characters that are not ASCII";
                wrong = wrong.or_else(|| Some(format!("{name} {why}: that is not a credential")));
            }
        }
        let region = REGIONS.iter().find_map(find);
        let region = region.filter(|(name, value)| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            let is_region = value.bytes().all(known);
            if !is_region {
                let why = "is not a region: want letters, digits and hyphens, like eu-central-1";
                wrong.get_or_insert(format!("{name} {why}"));
            }
            is_region
        });
        let ignored = get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
        let ignored = ignored.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
        let endpoint = ENDPOINTS.iter().find_map(find).filter(|_| !ignored);
        let endpoint = endpoint.filter(|(name, value)| {
            let is_url = Url::parse(value)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !is_url {
                let why = "is not the address of a server, like https://s3.example.net:9000";
                wrong.get_or_insert(format!("{name} {why}"));
            }
            is_url
        });
        Self {
            region: region.map(|(_, value)| value),
            endpoint: endpoint.map(|(_, value)| value),
            wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Aws {
        Aws::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn white_space_at_the_ends_is_nothing() {
        let aws = read(&[
            ("AWS_ACCESS_KEY_ID", "AKIA\n"),
            ("AWS_SECRET_ACCESS_KEY", " s+/=\r\n"),
            ("AWS_REGION", "\n"),
            ("AWS_DEFAULT_REGION", "eu-central-1\r\n"),
            ("AWS_ENDPOINT_URL", "https://s3.example.net:9000/base\n"),
        ]);
        assert_eq!(aws.wrong, None);
        assert_eq!(aws.region.unwrap(), "eu-central-1");
        assert_eq!(aws.endpoint.unwrap(), "https://s3.example.net:9000/base");
        assert_eq!(read(&[]), Aws::default());
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name_and_never_shown() {
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", "hid\nden"),
            ("AWS_SECRET_ACCESS_KEY", "hid den"),
            ("AWS_SESSION_TOKEN", "hidd\u{e9}n"),
            ("AWS_REGION", "hid/den"),
            ("AWS_ENDPOINT_URL_S3", "hidden:9000"),
        ] {
            let wrong = read(&[(name, value)]).wrong.unwrap();
            assert!(wrong.starts_with(name), "{wrong}");
            assert!(!wrong.contains("hid"), "{wrong}");
        }
    }
}
