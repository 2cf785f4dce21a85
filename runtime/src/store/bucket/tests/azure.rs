//! Azure Blob Storage, as its documents have it.

use super::*;

/// What the service adds to each message.
const TAIL: &str = "\nRequestId:00000000-0000-0000-0000-000000000000\nTime:2026-01-01T00:00:00.0000000Z";
/// `hunter2-canary-key` in base64.
const KEY: &str = "aHVudGVyMi1jYW5hcnkta2V5";

fn settings(endpoint: Option<String>) -> Settings {
    let access = Access::Azure { account: "shop2".to_owned(), access_key: Some(SecretString::new(KEY)) };
    Settings { bucket: "shop-state".to_owned(), prefix: "prod/revenue".to_owned(), endpoint, access }
}

fn store(server: &Server) -> BucketStore {
    open(&settings(Some(server.endpoint())))
}

async fn created(status: u16, body: &str) -> (Result<Created, StoreError>, Vec<Asked>) {
    let server = Server::start(Some((status, body))).await;
    (create(&store(&server)).await, server.asked())
}

#[tokio::test]
async fn a_create_is_one_put_under_the_condition_that_there_is_nothing() {
    let server = Server::start_with(vec![Answer(201, vec![("etag", "\"1\"".to_owned())], String::new())]).await;
    assert_eq!(create(&store(&server)).await, Ok(Created::New));
    let what = "PUT /shop-state/prod/revenue/0/attempts/1/claim".to_owned();
    assert_eq!(server.asked(), [Asked { what, conditions: vec!["if-none-match: *".to_owned()] }]);
    // Anybody could say 201.
    assert!(created(201, "<html>welcome</html>").await.0.is_err());
}

#[tokio::test]
async fn only_a_blob_that_exists_says_that_a_name_is_taken() {
    for (status, code) in [(409, "BlobAlreadyExists"), (412, "ConditionNotMet")] {
        let (answer, asked) = created(status, &said(code, TAIL)).await;
        assert_eq!((answer, asked.len()), (Ok(Created::Exists), 1), "{code}");
    }
    for (status, code) in [
        (409, "ContainerBeingDeleted"),
        (409, "ConditionNotMet"),
        (409, ""),
        (412, "LeaseIdMissing"),
        (412, "BlobAlreadyExists"),
        (412, ""),
        (304, ""),
        (429, "TooManyRequests"),
        (500, "OperationTimedOut"),
        (503, "ServerBusy"),
    ] {
        let (answer, asked) = created(status, &said(code, TAIL)).await;
        let unknown = answer.unwrap_err();
        assert_eq!(unknown.retry, Retry::Backoff, "{status} {code}: {unknown}");
        assert_eq!(asked.len(), 1, "{status} {code}: nothing is tried again here");
    }
}

#[tokio::test]
async fn only_the_services_own_word_says_that_a_blob_is_missing() {
    for (body, missing) in [
        (said("BlobNotFound", &format!("The specified blob does not exist.{TAIL}")), true),
        ("<html>default backend (code: 404)</html>".to_owned(), false),
        (said("ContainerNotFound", TAIL), false),
    ] {
        let server = Server::start(Some((404, &body))).await;
        assert_eq!(store(&server).read(NAME).await == Ok(None), missing, "{body}");
        assert!(store(&server).delete(NAME).await.is_err(), "a deletion is answered otherwise: {body}");
        assert_eq!(server.asked().len(), 2, "each was one request");
    }
}

/// What is answered to a deletion, which goes as one of several.
fn deleted(status: &str) -> Answer {
    let body = format!(
        "--batch_1\r\nContent-Type: application/http\r\nContent-ID: 0\r\n\r\nHTTP/1.1 {status}\r\nx-ms-version: 2023-11-03\r\n\r\n\r\n--batch_1--\r\n"
    );
    Answer(202, vec![("content-type", "multipart/mixed; boundary=batch_1".to_owned())], body)
}

#[tokio::test]
async fn a_deletion_of_what_is_not_there_is_done_and_of_what_may_not_be_is_an_error() {
    let delete = async |status| {
        let server = Server::start_with(vec![deleted(status)]).await;
        let answer = store(&server).delete(NAME).await;
        let asked = server.asked();
        assert!(asked.len() == 1 && asked[0].what.starts_with("POST /shop-state"), "{asked:?}");
        answer
    };
    assert_eq!(delete("202 Accepted").await, Ok(()));
    assert_eq!(delete("404 The specified blob does not exist.").await, Ok(()));
    let denied = delete("403 This request is not authorized to perform this operation.").await.unwrap_err();
    assert!(denied.retry == Retry::Never && denied.message.contains("Storage Blob Data Contributor"), "{denied}");
    assert_eq!(delete("503 The server is busy.").await.unwrap_err().retry, Retry::Backoff);
}

#[tokio::test]
async fn refusals_say_whether_waiting_heals_and_what_to_do_and_no_secret() {
    for (status, code, retry, fix) in [
        (403, "AuthenticationFailed", Retry::Never, "check `spec.checkpoint.storage.azure.credentials.accessKey`"),
        (403, "AuthorizationPermissionMismatch", Retry::Never, "Storage Blob Data Contributor"),
        (403, "", Retry::Never, "Storage Blob Data Contributor"),
        (404, "ContainerNotFound", Retry::Never, "create the container"),
        (404, "", Retry::Backoff, "check `account` and `endpoint`"),
        (400, "UnsupportedHeader", Retry::Never, "create only if absent"),
        (500, "InternalError", Retry::Backoff, "500 InternalError: About the key"),
    ] {
        let error = created(status, &said(code, &format!("About the key {KEY}.{TAIL}"))).await.0.unwrap_err();
        assert_eq!(error.retry, retry, "{code}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(fix) && text.contains("/shop-state/prod/revenue/0/attempts/1/claim: "), "{text}");
        assert!(!text.contains(KEY) && !text.contains("RequestId"), "{text}");
    }
}

#[tokio::test]
async fn a_listing_goes_on_to_its_last_page() {
    let page = |name: &str, marker: &str| {
        let properties = "<Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified><Etag>1</Etag><Content-Length>1</Content-Length>\
                          <Content-Type>application/octet-stream</Content-Type>";
        let blob = format!("<Blob><Name>prod/revenue/{name}</Name><Properties>{properties}</Properties></Blob>");
        let body = format!(
            "<?xml version=\"1.0\"?><EnumerationResults><Blobs>{blob}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        );
        Answer(200, vec![], body)
    };
    let server = Server::start_with(vec![page("0/a", "on"), page("0/b", "")]).await;
    assert_eq!(store(&server).list("").await.unwrap(), ["0/a", "0/b"]);
    let asked = server.asked();
    assert!(asked.len() == 2 && asked[1].what.contains("marker=on"), "{asked:?}");
    // A page that is lost is an error, never the end.
    let server = Server::start_with(vec![page("0/a", "on"), Answer(503, vec![], String::new())]).await;
    assert_eq!(store(&server).list("").await.unwrap_err().retry, Retry::Backoff);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn a_key_that_is_none_is_refused_by_its_field_and_not_repeated() {
    let access = Access::Azure { account: "shop2".to_owned(), access_key: Some(SecretString::new("hunter2-canary!")) };
    let error = BucketStore::open(&Settings { access, ..settings(None) }, Arc::new(SystemClock)).err().unwrap();
    assert_eq!(error.retry, Retry::Never);
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("spec.checkpoint.storage.azure.credentials.accessKey is no") && !text.contains("canary"),
        "{text}"
    );
    assert!(text.contains("https://shop2.blob.core.windows.net/shop-state/prod/revenue/"), "{text}");
    let debugged = format!("{:?}", settings(None));
    assert!(!debugged.contains(KEY), "{debugged}");
}

#[test]
fn an_identity_comes_from_the_environment_and_nothing_else_does() {
    let names = [
        ("AZURE_STORAGE_ENDPOINT", "http://evil"),
        ("AZURE_SKIP_SIGNATURE", "true"),
        ("AZURE_STORAGE_USE_EMULATOR", "true"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_SECRET", "secret-1"),
    ];
    let access = Access::Azure { account: "shop2".to_owned(), access_key: None };
    let (bucket, secrets) = connect::connect(&Settings { access, ..settings(None) }, environment(&names)).unwrap();
    assert_eq!(secrets, ["secret-1"]);
    let text = format!("{bucket:?}");
    assert!(text.contains("shop2.blob.core.windows.net") && !text.contains("evil"), "{text}");
    assert!(text.contains("skip_signature: false") && text.contains("is_emulator: false"), "{text}");
}
