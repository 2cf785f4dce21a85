//! Amazon S3, and what speaks its protocol.

use super::*;

const ID: &str = "AKIA-hunter2-canary";
const SECRET: &str = "secret-hunter2-canary";

fn settings(endpoint: Option<String>) -> Settings {
    let credentials =
        Credentials { access_key_id: SecretString::new(ID), secret_access_key: SecretString::new(SECRET) };
    Settings {
        bucket: "shop".to_owned(),
        prefix: "prod/revenue".to_owned(),
        endpoint,
        access: Access::S3(S3Access { credentials: Some(credentials), ..S3Access::default() }),
    }
}

fn said(code: &str) -> String {
    super::said(code, &format!("About {ID}.\u{1b}[31m"))
        .replace("</Error>", &format!("<AWSAccessKeyId>{ID}</AWSAccessKeyId></Error>"))
}

fn store(server: &Server) -> BucketStore {
    open(&settings(Some(server.endpoint())))
}

async fn create(server: &Server) -> Result<Created, StoreError> {
    super::create(&store(server)).await
}

#[tokio::test]
async fn only_a_plain_412_says_that_a_name_is_taken() {
    let server = Server::start(Some((412, &said("PreconditionFailed")))).await;
    assert_eq!(create(&server).await, Ok(Created::Exists));
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].conditions.as_slice()), (1, &["if-none-match: *".to_owned()][..]), "{asked:?}");
    for (status, code) in [(409, "ConditionalRequestConflict"), (304, ""), (500, "InternalError"), (503, "SlowDown")] {
        let server = Server::start(Some((status, &said(code)))).await;
        let unknown = create(&server).await.unwrap_err();
        assert_eq!(unknown.retry, Retry::Backoff, "{status}: {unknown}");
        assert_eq!(server.asked().len(), 1, "{status}: nothing is tried again here");
    }
}

#[tokio::test]
async fn an_answer_without_proof_of_the_put_is_unknown() {
    // What a put answers has the object's tag; anybody could say 200.
    let server = Server::start(Some((200, "<html>welcome</html>"))).await;
    assert!(create(&server).await.is_err());
}

#[tokio::test]
async fn only_the_stores_own_word_says_that_an_object_is_missing() {
    let read = async |status, body: &str| {
        let server = Server::start(Some((status, body))).await;
        store(&server).read(NAME).await
    };
    assert_eq!(read(404, &said("NoSuchKey")).await, Ok(None));
    let missing = read(404, &said("NoSuchBucket")).await.unwrap_err();
    assert_eq!(missing.retry, Retry::Never);
    assert!(missing.message.contains("create the bucket"), "{missing}");
    let nobody = read(404, "<html>default backend</html>").await.unwrap_err();
    assert_eq!(nobody.retry, Retry::Backoff);
    assert!(nobody.message.contains("check `endpoint`"), "{nobody}");
}

#[tokio::test]
async fn refusals_say_whether_waiting_heals_and_what_to_do_and_no_secret() {
    for (status, code, retry, fix) in [
        (403, "InvalidAccessKeyId", Retry::Never, "check `accessKeyId` and `secretAccessKey`"),
        (403, "SignatureDoesNotMatch", Retry::Never, "check `accessKeyId` and `secretAccessKey`"),
        (403, "AccessDenied", Retry::Never, "need s3:ListBucket"),
        (403, "RequestTimeTooSkewed", Retry::Backoff, "set this machine's clock"),
        (400, "ExpiredToken", Retry::Backoff, "credentials"),
        (404, "NoSuchBucket", Retry::Never, "create the bucket"),
        (400, "AuthorizationHeaderMalformed", Retry::Never, "correct `region`"),
        (301, "PermanentRedirect", Retry::Never, "correct `region`"),
        (501, "NotImplemented", Retry::Never, "create only if absent"),
        (503, "SlowDown", Retry::Backoff, "503 SlowDown"),
    ] {
        let server = Server::start(Some((status, &said(code)))).await;
        let error = create(&server).await.unwrap_err();
        assert_eq!(error.retry, retry, "{code}: {error}");
        assert!(error.message.contains(fix), "{code}: {error}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("create s3://shop/prod/revenue/0/attempts/1/claim"), "{text}");
        assert!(!text.contains("canary") && !text.contains('\u{1b}'), "{text}");
    }
    let debugged = format!("{:?}", settings(None));
    assert!(!debugged.contains("canary"), "{debugged}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Server::start(Some((404, &said("NoSuchKey")))).await;
    let server = Server::start(None).await;
    let location = format!("http://{}/shop/{NAME}", elsewhere.address);
    for status in [302, 307] {
        *server.state.answers.lock().unwrap() =
            vec![Answer(status, vec![("location", location.clone())], String::new())];
        let error = store(&server).read(NAME).await.unwrap_err();
        assert!(error.message.contains("check `endpoint`"), "{error}");
    }
    assert_eq!((server.asked().len(), elsewhere.asked().len()), (2, 0));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_as_long_as_is_written() {
    let server = Server::start(None).await;
    let clock = ManualClock::default();
    let opened = BucketStore::open(&settings(Some(server.endpoint())), Arc::new(clock.clone()));
    let store = Arc::new(opened.unwrap());
    let asking = tasks::spawn("ask", async move { store.create(NAME, Bytes::from_static(b"one")).await });
    while server.asked().is_empty() || clock.sleepers() == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(PATIENCE);
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.retry, Retry::Backoff);
    assert!(error.message.contains("no answer within 15 s"), "{error}");
}

#[test]
fn an_authority_that_is_none_is_refused_by_its_field() {
    let unfit = ["not PEM", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"];
    for (pem, said) in unfit.into_iter().zip(["s3.ca holds no certificate", "builder error"]) {
        let access = S3Access { ca: Some(SecretBytes::new(pem.as_bytes())), ..S3Access::default() };
        let settings = Settings { access: Access::S3(access), ..settings(Some("https://s3".to_owned())) };
        let error = BucketStore::open(&settings, Arc::new(SystemClock)).err().unwrap();
        assert_eq!(error.retry, Retry::Never);
        assert!(error.message.contains(said), "{error}");
    }
}

#[tokio::test]
async fn nobody_listening_is_told_as_such() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = open(&settings(Some(format!("http://{address}"))));
    let error = store.list("").await.unwrap_err();
    assert_eq!(error.retry, Retry::Backoff);
    assert!(error.message.starts_with("no answer: ") && error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_too_large_is_refused_before_it_is_sent() {
    let server = Server::start(Some((404, ""))).await;
    let store = store(&server);
    // Zeroed pages that nobody touches.
    let body = Bytes::from(vec![0; MOST_BYTES as usize + 1]);
    let error = store.create(NAME, body).await.unwrap_err();
    assert_eq!(error.retry, Retry::Never);
    assert!(error.message.contains("raise `parallelism`"), "{error}");
    assert_eq!(server.asked(), []);
    assert_eq!((patience(0), patience(MOST_BYTES)), (PATIENCE, PATIENCE + Duration::from_secs(256)));
}

#[tokio::test]
async fn region_and_identity_come_from_the_environment_where_the_manifest_is_silent_and_nothing_else_does() {
    let region = |settings: &Settings, names: &[(&str, &str)]| {
        connect::connect(settings, environment(names)).map(|(bucket, secrets)| (format!("{bucket:?}"), secrets))
    };
    let (mut amazon, other) = (settings(None), settings(Some("http://minio:9000".to_owned())));
    let error = region(&amazon, &[]).unwrap_err();
    assert!(error.contains("spec.checkpoint.storage.s3.region is absent, and AWS_REGION is not set"), "{error}");
    assert!(
        region(&amazon, &[("AWS_REGION", "eu-north-1")])
            .unwrap()
            .0
            .contains("https://s3.eu-north-1.amazonaws.com/shop")
    );
    let (found, secrets) =
        region(&other, &[("AWS_ENDPOINT_URL", "http://evil"), ("AWS_CONDITIONAL_PUT", "disabled")]).unwrap();
    assert!(found.contains("http://minio:9000/shop") && !found.contains("evil"), "{found}");
    assert!(found.contains("region: \"us-east-1\"") && found.contains("conditional_put: ETagMatch"), "{found}");
    assert_eq!(secrets, [ID, SECRET]);
    amazon.access = Access::S3(S3Access { region: Some("eu-central-1".to_owned()), ..S3Access::default() });
    let given =
        [("AWS_ACCESS_KEY_ID", "id-1"), ("AWS_SECRET_ACCESS_KEY", "secret-1"), ("AWS_SESSION_TOKEN", "token-1")];
    assert_eq!(region(&amazon, &given).unwrap().1, ["id-1", "secret-1", "token-1"]);
}
