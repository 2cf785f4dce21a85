//! Google Cloud Storage, as its documents have it.

use super::*;

/// A key that is read and never sent: without OAuth nothing is signed, which only tests want.
const KEY: &str = r#"{"private_key": "hunter2-canary", "private_key_id": "1", "client_email": "a@b", "disable_oauth": true,
                      "gcs_base_url": "http://192.0.2.1"}"#;

fn settings(endpoint: Option<String>) -> Settings {
    let access = Access::Gcs { service_account_key: Some(SecretString::new(KEY)) };
    Settings { bucket: "shop_state".to_owned(), prefix: "prod/revenue".to_owned(), endpoint, access }
}

fn store(server: &Server) -> BucketStore {
    open(&settings(Some(server.endpoint())))
}

async fn created(status: u16, body: &str) -> (Result<Created, StoreError>, Vec<Asked>) {
    let server = Server::start(Some((status, body))).await;
    (create(&store(&server)).await, server.asked())
}

#[tokio::test]
async fn a_create_is_one_put_under_the_condition_that_there_is_no_generation() {
    let tag = vec![("etag", "\"1\"".to_owned()), ("x-goog-generation", "7".to_owned())];
    let server = Server::start_with(vec![Answer(200, tag, String::new())]).await;
    assert_eq!(create(&store(&server)).await, Ok(Created::New));
    let what = "PUT /shop%5Fstate/prod%2Frevenue%2F0%2Fattempts%2F1%2Fclaim".to_owned();
    let conditions = vec!["x-goog-if-generation-match: 0".to_owned()];
    assert_eq!(server.asked(), [Asked { what, conditions }]);
    // Anybody could say 200.
    assert!(created(200, "<html>welcome</html>").await.0.is_err());
}

#[tokio::test]
async fn only_a_412_of_the_condition_says_that_a_name_is_taken() {
    let (answer, asked) = created(412, &said("PreconditionFailed", "It did not hold.")).await;
    assert_eq!((answer, asked.len()), (Ok(Created::Exists), 1));
    for (status, code) in [
        (412, "OrgPolicyConstraintFailed"),
        (412, ""),
        (409, "OperationAborted"),
        (409, "PreconditionFailed"),
        (304, ""),
        (429, "SlowDown"),
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
    ] {
        let (answer, asked) = created(status, &said(code, "")).await;
        let unknown = answer.unwrap_err();
        assert_eq!(unknown.retry, Retry::Backoff, "{status} {code}: {unknown}");
        assert_eq!(asked.len(), 1, "{status} {code}: nothing is tried again here");
    }
}

#[tokio::test]
async fn only_the_services_own_word_says_that_an_object_is_missing() {
    for (body, missing) in [
        (said("NoSuchKey", "The specified key does not exist."), true),
        ("<html>default backend (code: 404)</html>".to_owned(), false),
        (said("NoSuchBucket", ""), false),
    ] {
        let server = Server::start(Some((404, &body))).await;
        let store = store(&server);
        assert_eq!(store.read(NAME).await == Ok(None), missing, "{body}");
        assert_eq!(store.delete(NAME).await == Ok(()), missing, "{body}");
        assert_eq!(server.asked().len(), 2, "each was one request");
    }
}

#[tokio::test]
async fn refusals_say_whether_waiting_heals_and_what_to_do_and_no_secret() {
    for (status, code, retry, fix) in [
        (
            401,
            "AuthenticationRequired",
            Retry::Never,
            "check `spec.checkpoint.storage.gcs.credentials.serviceAccountKey`",
        ),
        (403, "AccessDenied", Retry::Never, "Storage Object User"),
        (403, "", Retry::Never, "Storage Object User"),
        (403, "RequestTimeTooSkewed", Retry::Backoff, "set this machine's clock"),
        (404, "NoSuchBucket", Retry::Never, "create the bucket"),
        (404, "", Retry::Backoff, "this is not how Google Cloud Storage answers"),
        (501, "NotImplemented", Retry::Never, "create only if absent"),
        (500, "InternalError", Retry::Backoff, "500 InternalError"),
    ] {
        let error = created(status, &said(code, "hm")).await.0.unwrap_err();
        assert_eq!(error.retry, retry, "{code}: {error}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains(fix) && text.contains("create gs://shop_state/prod/revenue/0/attempts/1/claim"),
            "{text}"
        );
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_to_its_last_page() {
    let page = |name: &str, more: &str| {
        let contents = format!(
            "<Contents><Key>prod/revenue/{name}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"1\"</ETag></Contents>"
        );
        Answer(200, vec![], format!("<ListBucketResult>{contents}{more}</ListBucketResult>"))
    };
    let more = "<IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken>";
    let server = Server::start_with(vec![page("0/a", more), page("0/b", "")]).await;
    assert_eq!(store(&server).list("").await.unwrap(), ["0/a", "0/b"]);
    let asked = server.asked();
    assert!(asked.len() == 2 && asked[1].what.contains("continuation-token=on"), "{asked:?}");
    // A page that is lost is an error, never the end.
    let server = Server::start_with(vec![page("0/a", more), Answer(503, vec![], String::new())]).await;
    assert_eq!(store(&server).list("").await.unwrap_err().retry, Retry::Backoff);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_key_that_is_none_is_refused_by_its_field_and_not_repeated() {
    for key in ["\"hunter2-canary\"", "hunter2-canary", r#"{"private_key": "hunter2-canary"}"#] {
        let access = Access::Gcs { service_account_key: Some(SecretString::new(key)) };
        let error = BucketStore::open(&Settings { access, ..settings(None) }, Arc::new(SystemClock)).err().unwrap();
        assert_eq!(error.retry, Retry::Never);
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("spec.checkpoint.storage.gcs.credentials.serviceAccountKey is no")
                && !text.contains("canary"),
            "{text}"
        );
    }
    let debugged = format!("{:?}", settings(None));
    assert!(!debugged.contains("canary"), "{debugged}");
}

#[test]
fn the_address_is_googles_whatever_a_key_or_the_environment_says() {
    let names =
        [("GOOGLE_BASE_URL", "http://evil"), ("GOOGLE_SERVICE_ACCOUNT_KEY", "{}"), ("GOOGLE_SKIP_SIGNATURE", "true")];
    let (bucket, secrets) = connect::connect(&settings(None), environment(&names)).unwrap();
    let text = format!("{bucket:?}");
    assert!(
        text.contains("https://storage.googleapis.com") && !text.contains("192.0.2.1") && !text.contains("evil"),
        "{text}"
    );
    assert!(text.contains("skip_signature: false") && secrets.is_empty(), "{text}");
    let nameless = Settings { access: Access::Gcs { service_account_key: None }, ..settings(None) };
    let names = [("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")];
    let error = connect::connect(&nameless, environment(&names)).err().unwrap();
    assert!(error.contains("GOOGLE_APPLICATION_CREDENTIALS: /nowhere/key.json is no"), "{error}");
}
