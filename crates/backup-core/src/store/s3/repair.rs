//! Repair of answers from servers that are not quite S3, and detection of those that are not S3 at all,
//! before the SDK reads them.

use aws_sdk_s3::config::{ConfigBag, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

/// Header of answers to GET and HEAD.
const LAST_MODIFIED: &str = "last-modified";
/// Element of listings.
const BEGIN: &str = "<LastModified>";
const END: &str = "</LastModified>";

/// Number of leading bytes that identify an answer.
const BEGINNING: usize = 1_024;

/// Error for an answer that is not from S3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no S3 at this address: the answer ({status}) is {what}; check `endpoint` in the store's URL"
)]
pub(super) struct NotS3Error {
    status: u16,
    what: &'static str,
}

/// Client that repairs its answers.
#[derive(Debug)]
pub(super) struct RepairingClient(pub(super) SharedHttpClient);

impl HttpClient for RepairingClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(RepairingConnector(
            self.0.http_connector(settings, components),
        ))
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct RepairingConnector(SharedHttpConnector);

impl HttpConnector for RepairingConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let lists = request.uri().contains("list-type=2");
        let head = request.method() == "HEAD";
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let status = answer.status().as_u16();
            let no_s3 = |what| {
                Err(ConnectorError::other(
                    NotS3Error { status, what }.into(),
                    None,
                ))
            };
            let says_page = is_html(&answer);
            if head {
                // Every object of S3 has an ETag.
                let known = answer.headers().contains_key("etag");
                if says_page && answer.status().is_success() && !known {
                    return no_s3("a web page");
                }
            } else if status < 500 && (says_page || (lists && answer.status().is_success())) {
                let body = whole(&mut answer).await?;
                if says_page && begins_html(&body) {
                    return no_s3("a web page");
                }
                if lists && answer.status().is_success() {
                    let begin = body.get(..BEGINNING.min(body.len())).unwrap_or_default();
                    if !contains(begin, b"<ListBucketResult") {
                        return no_s3("no listing");
                    }
                    listing(&mut answer, body);
                } else {
                    *answer.body_mut() = SdkBody::from(body);
                }
            }
            tidy_header(&mut answer);
            Ok(answer)
        })
    }
}

fn is_html(answer: &HttpResponse) -> bool {
    let kind = answer.headers().get("content-type").unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    kind.starts_with("text/html") || kind.starts_with("application/xhtml")
}

fn begins_html(body: &[u8]) -> bool {
    let begin = body.trim_ascii_start();
    let begin = begin.get(..BEGINNING.min(begin.len())).unwrap_or_default();
    let begin = String::from_utf8_lossy(begin).to_ascii_lowercase();
    ["<!doctype html", "<html", "<head", "<body", "<!--"]
        .iter()
        .any(|tag| begin.starts_with(tag))
        || begin.contains("<html")
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// Takes the body out of a small answer.
async fn whole(answer: &mut HttpResponse) -> Result<Bytes, ConnectorError> {
    let body = ByteStream::new(answer.take_body()).collect().await;
    let body = body.map_err(|error| ConnectorError::io(error.into()))?;
    Ok(body.into_bytes())
}

/// Puts a listing back, with its times in the SDK's form; a time that cannot be parsed is left out.
fn listing(answer: &mut HttpResponse, body: Bytes) {
    let tidied = std::str::from_utf8(&body).ok().and_then(times);
    *answer.body_mut() = match tidied {
        None => SdkBody::from(body),
        Some(text) => {
            answer.headers_mut().remove("content-length");
            SdkBody::from(text)
        }
    };
}

/// Returns the text of a listing with changed times; `None` if no time had to change.
fn times(text: &str) -> Option<String> {
    let (mut out, mut rest, mut changed) = (String::new(), text, false);
    while let Some((before, behind)) = rest.split_once(BEGIN) {
        let Some((told, after)) = behind.split_once(END) else {
            break;
        };
        out.push_str(before);
        let known = DateTime::from_str(told, Format::DateTimeWithOffset).is_ok();
        changed |= !known;
        let told = if known {
            Some(told.to_owned())
        } else {
            read(told).map(|time| time.to_string())
        };
        if let Some(told) = told {
            out.push_str(BEGIN);
            out.push_str(&told);
            out.push_str(END);
        }
        rest = after;
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// Does the same for the header.
fn tidy_header(answer: &mut HttpResponse) {
    let Some(told) = answer.headers().get(LAST_MODIFIED).map(str::to_owned) else {
        return;
    };
    if DateTime::from_str(&told, Format::HttpDate).is_ok() {
        return;
    }
    answer.headers_mut().remove(LAST_MODIFIED);
    let told = read(&told).and_then(|time| {
        let time = DateTime::from_secs(time.as_second());
        time.fmt(Format::HttpDate).ok()
    });
    if let Some(told) = told {
        answer.headers_mut().insert(LAST_MODIFIED, told);
    }
}

/// Parses a time in one of the forms that servers use.
fn read(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let seconds = || text.parse().ok().map(Timestamp::from_second)?.ok();
    let mail = || Some(rfc2822::parse(text).ok()?.timestamp());
    text.parse().ok().or_else(mail).or_else(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_listing_are_read_in_any_form_or_left_out() {
        let text =
            "<Key>a</Key><LastModified>2026-11-23T12:45:00.000Z</LastModified><Size>1</Size>";
        assert_eq!(times(text), None);
        let page = "<a><LastModified>Mon, 23 Nov 2026 12:45:00 GMT</LastModified></a>\
                    <b><LastModified>2026-11-23T12:45:00+02:00</LastModified></b>\
                    <c><LastModified>1795437900</LastModified></c>\
                    <d><LastModified>yesterday</LastModified></d><LastModified>";
        let wanted = "<a><LastModified>2026-11-23T12:45:00Z</LastModified></a>\
                      <b><LastModified>2026-11-23T12:45:00+02:00</LastModified></b>\
                      <c><LastModified>2026-11-23T12:45:00Z</LastModified></c>\
                      <d></d><LastModified>";
        assert_eq!(times(page).unwrap(), wanted);
    }

    fn answer(headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut answer = HttpResponse::new(200.try_into().unwrap(), SdkBody::empty());
        for (name, value) in headers {
            answer.headers_mut().insert(*name, *value);
        }
        answer
    }

    #[test]
    fn the_time_of_an_object_is_read_in_any_form_or_left_out() {
        for (told, read) in [
            (
                "Mon, 23 Nov 2026 12:45:00 GMT",
                Some("Mon, 23 Nov 2026 12:45:00 GMT"),
            ),
            (
                "2026-11-23T12:45:00Z",
                Some("Mon, 23 Nov 2026 12:45:00 GMT"),
            ),
            ("1795437900", Some("Mon, 23 Nov 2026 12:45:00 GMT")),
            ("yesterday", None),
        ] {
            let mut answer = answer(&[(LAST_MODIFIED, told)]);
            tidy_header(&mut answer);
            assert_eq!(answer.headers().get(LAST_MODIFIED), read, "{told}");
        }
    }

    #[test]
    fn a_web_page_is_told_by_how_it_begins() {
        assert!(begins_html(b"\n <!DOCTYPE HTML><p>"));
        assert!(begins_html(b"<?xml version='1.0'?><html xmlns=''>"));
        assert!(!begins_html(
            b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"
        ));
        assert!(!begins_html(b""));
        assert!(is_html(&answer(&[(
            "content-type",
            "Text/HTML; charset=utf-8"
        )])));
        assert!(!is_html(&answer(&[("content-type", "application/xml")])));
        assert!(!is_html(&answer(&[])));
    }
}
