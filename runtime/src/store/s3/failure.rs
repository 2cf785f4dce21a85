//! What an S3 store's refusal means, whether waiting can heal it, and what a person should do.

use std::error::Error as _;

use object_store::Error;

use crate::connectors::Retry;

/// Characters of a store's own words that are passed on.
const MOST_SAID: usize = 300;

const KEYS: &str = "check `accessKeyId` and `secretAccessKey` of `spec.checkpoint.storage.s3.credentials`, or what the environment says";
const RIGHTS: &str = "these credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix";
const BUCKET: &str = "create the bucket, or correct `bucket` or `endpoint`";
const REGION: &str = "the bucket is elsewhere: correct `region` or `endpoint`";
const CLOCK: &str = "set this machine's clock";
const CONDITION: &str = "the store does not offer what is needed (to create only if absent); use one that does";
const CERTIFICATE: &str =
    "the endpoint's certificate is not trusted: add its authority to the system's, or name a file in SSL_CERT_FILE";
const NO_STORE: &str = "this is not how an S3 store answers: check `endpoint`";
const NOBODY: &str = "no credentials were found: name them in `spec.checkpoint.storage.s3.credentials`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
                      or give the pod or machine an identity";

/// An error in words. It never holds the answer itself, which may repeat what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) retry: Retry,
}

/// Whether a conditional put was refused because the name is taken. Only a plain 412 says so: a 409 is told while
/// another put or deletion of the name is under way, and says nothing about how that ends.
pub(super) fn is_taken(error: &Error) -> bool {
    let Error::AlreadyExists { source, .. } = error else { return false };
    matches!(source.downcast_ref::<Error>(), Some(Error::Precondition { .. }))
}

/// Whether the store says that there is no such object. A 404 without these words may come from anybody.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && Told::of(error).code.as_deref() == Some("NoSuchKey")
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        let told = Told::of(error);
        let (retry, fix) = told.judge();
        let what = told.words();
        let message = fix.map_or_else(|| what.clone(), |fix| format!("{what}; {fix}"));
        Self { message, retry }
    }
}

/// What can be found in an error's words.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    status: Option<u16>,
    code: Option<String>,
    message: Option<String>,
    /// The innermost cause.
    cause: String,
    /// Whether the machine's own identity was asked for.
    of_machine: bool,
}

impl Told {
    fn of(error: &Error) -> Self {
        let mut told = Self::default();
        let mut texts = vec![error.to_string()];
        let mut cause = error.source();
        while let Some(error) = cause {
            texts.push(error.to_string());
            cause = error.source();
        }
        for text in &texts {
            let status = between(text, "status code: ", " ").and_then(|status| status.parse().ok());
            told.status = told.status.or(status);
            // Refusals of single objects of a deletion stand in words.
            let code = between(text, "<Code>", "</Code>").or_else(|| between(text, "(code: ", ")"));
            told.code = told.code.take().or_else(|| code.map(printable));
            told.message = told.message.take().or_else(|| between(text, "<Message>", "</Message>").map(printable));
            told.of_machine |= text.contains("http://169.254.169.254");
        }
        let has_body = |text: &str| text.contains('<') || text.contains("status code: ");
        let plain = texts.iter().rev().find(|text| !has_body(text));
        told.cause = plain.map(|text| printable(text)).unwrap_or_default();
        told
    }

    fn judge(&self) -> (Retry, Option<&'static str>) {
        let of_code = match self.code.as_deref().unwrap_or_default() {
            // The last is how versitygw says the first.
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "XAdminUserNotFound" => {
                Some((Retry::Never, KEYS))
            }
            // An identity that is handed out anew before it expires.
            "ExpiredToken" | "TokenRefreshRequired" => Some((Retry::Backoff, KEYS)),
            "RequestTimeTooSkewed" => Some((Retry::Backoff, CLOCK)),
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Some((Retry::Never, RIGHTS)),
            "NoSuchBucket" | "InvalidBucketName" => Some((Retry::Never, BUCKET)),
            "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
                Some((Retry::Never, REGION))
            }
            "NotImplemented" => Some((Retry::Never, CONDITION)),
            _ => None,
        };
        if let Some((retry, fix)) = of_code {
            return (retry, Some(fix));
        }
        match self.status {
            Some(401 | 403) => (Retry::Never, Some(RIGHTS)),
            Some(301 | 308) => (Retry::Never, Some(REGION)),
            Some(501) => (Retry::Never, Some(CONDITION)),
            Some(302..=399 | 404 | 405) => (Retry::Backoff, Some(NO_STORE)),
            None if self.cause.contains("redirect without LOCATION") => (Retry::Never, Some(REGION)),
            None if self.cause.contains("certificate") => (Retry::Never, Some(CERTIFICATE)),
            None if self.of_machine => (Retry::Backoff, Some(NOBODY)),
            Some(_) | None => (Retry::Backoff, None),
        }
    }

    fn words(&self) -> String {
        let code = self.code.as_deref().unwrap_or_default();
        let message = self.message.as_deref().unwrap_or_default();
        let words = match (self.status, code, message) {
            (None, "", "") => return format!("no answer: {}", self.cause),
            (Some(status), "", "") => format!("the answer is {status}"),
            (Some(status), code, "") => format!("the answer is {status} {code}"),
            (Some(status), code, message) => format!("the answer is {status} {code}: {message}"),
            (None, code, message) => format!("the answer is {code} {message}"),
        };
        words.trim_end_matches([' ', '.']).to_owned()
    }
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// What a store says cannot command a terminal, nor fill it.
fn printable(text: &str) -> String {
    text.chars().take(MOST_SAID).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
