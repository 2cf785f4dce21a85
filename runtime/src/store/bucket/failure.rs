//! What a store's refusal means, whether waiting can heal it, and what a person should do.

use std::error::Error as _;

use object_store::Error;

use super::service::{CONDITION, Service};
use crate::connectors::Retry;

/// Characters of a store's own words that are passed on.
const MOST_SAID: usize = 300;

/// Where machines and pods of a cloud ask who they are.
const MACHINE: [&str; 2] = ["http://169.254.169.254", "http://metadata.google.internal"];

/// An error in words. It never holds the answer itself, which may repeat what was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) retry: Retry,
}

/// Whether a conditional put was refused because the name is taken. Only what the service has for this and nothing else
/// says so; the library calls some answers "exists" that say nothing about how a race ends.
pub(super) fn is_taken(service: Service, error: &Error) -> bool {
    if !matches!(error, Error::AlreadyExists { .. } | Error::Precondition { .. }) {
        return false;
    }
    let told = Told::of(error);
    let says = |(status, code): &(u16, Option<&str>)| {
        told.status == Some(*status) && code.is_none_or(|code| told.code.as_deref() == Some(code))
    };
    service.words().taken.iter().any(says)
}

/// Whether the store says that there is no such object. A 404 without these words may come from anybody.
pub(super) fn is_absent(service: Service, error: &Error) -> bool {
    matches!(error, Error::NotFound { .. }) && Told::of(error).code.as_deref() == Some(service.words().absent)
}

/// Whether what was to be deleted is not there. Azure tells it as the status of one of several deletions, in an answer
/// that is its own.
pub(super) fn is_gone(service: Service, error: &Error) -> bool {
    let Error::NotFound { source, .. } = error else { return false };
    let one_of_several = || source.to_string().starts_with("Bulk delete request failed for key ");
    is_absent(service, error) || (service == Service::Azure && one_of_several())
}

impl Failure {
    pub(super) fn of(service: Service, error: &Error) -> Self {
        let told = Told::of(error);
        let (retry, fix) = told.judge(service);
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
            // Azure adds the request's number and time, in lines of their own.
            let message = between(text, "<Message>", "</Message>").and_then(|message| message.trim().lines().next());
            told.message = told.message.take().or_else(|| message.map(printable));
            told.of_machine |= MACHINE.iter().any(|address| text.contains(address));
        }
        let has_body = |text: &str| text.contains('<') || text.contains("status code: ");
        let plain = texts.iter().rev().find(|text| !has_body(text));
        told.cause = plain.map(|text| printable(text)).unwrap_or_default();
        told
    }

    fn judge(&self, service: Service) -> (Retry, Option<&'static str>) {
        let words = service.words();
        let code = self.code.as_deref().unwrap_or_default();
        if let Some((_, retry, fix)) = words.codes.iter().find(|(codes, ..)| codes.contains(&code)) {
            return (*retry, Some(fix));
        }
        // Single deletions of several have their status as a code.
        match self.status.or_else(|| code.parse().ok()) {
            Some(401 | 403) => (Retry::Never, Some(words.rights)),
            Some(301 | 308) => (Retry::Never, Some(words.elsewhere)),
            Some(501) => (Retry::Never, Some(CONDITION)),
            Some(302..=399 | 404 | 405) => (Retry::Backoff, Some(words.stranger)),
            None if self.cause.contains("redirect without LOCATION") => (Retry::Never, Some(words.elsewhere)),
            None if self.cause.contains("certificate") => (Retry::Never, Some(words.certificate)),
            None if self.of_machine => (Retry::Backoff, Some(words.nobody)),
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
