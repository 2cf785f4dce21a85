//! What sets the services apart: the words of their answers, what these mean, and what a person should do.

use crate::connectors::Retry;

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    Gcs,
    Azure,
}

/// A status and a code of an answer.
type Answer = (u16, Option<&'static str>);
/// Codes that mean the same, whether the store may answer otherwise later, and the fix.
type Meaning = (&'static [&'static str], Retry, &'static str);

/// How one service says things.
pub(super) struct Words {
    /// Answers to a conditional put that say that the name is taken; without a code: whatever it is.
    pub(super) taken: &'static [Answer],
    /// What the service says of an object that is not there.
    pub(super) absent: &'static str,
    pub(super) codes: &'static [Meaning],
    /// To do where it says no and not why.
    pub(super) rights: &'static str,
    /// To do where it sends elsewhere.
    pub(super) elsewhere: &'static str,
    /// To do where nobody said who we are.
    pub(super) nobody: &'static str,
    /// To do where the certificate is not trusted.
    pub(super) certificate: &'static str,
    /// To do where somebody else seems to answer.
    pub(super) stranger: &'static str,
    /// To do where nobody answers.
    pub(super) silence: &'static str,
}

impl Service {
    /// The manifest's field.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::S3 => "spec.checkpoint.storage.s3",
            Self::Gcs => "spec.checkpoint.storage.gcs",
            Self::Azure => "spec.checkpoint.storage.azure",
        }
    }

    pub(super) fn words(self) -> &'static Words {
        match self {
            Self::S3 => &S3,
            Self::Gcs => &GCS,
            Self::Azure => &AZURE,
        }
    }
}

const CLOCK: &str = "set this machine's clock";
pub(super) const CONDITION: &str =
    "the store does not offer what is needed (to create only if absent); use one that does";
const SYSTEM: &str = "the endpoint's certificate is not trusted: add its authority to the system's";

const S3_KEYS: &str = "check `accessKeyId` and `secretAccessKey` of `spec.checkpoint.storage.s3.credentials`, or what the environment says";
const S3_RIGHTS: &str = "these credentials need s3:ListBucket on the bucket, and s3:GetObject, s3:PutObject and s3:DeleteObject below the prefix";
const S3_REGION: &str = "the bucket is elsewhere: correct `region` or `endpoint`";

/// A 409 is told while another put or deletion of the name is under way, and says nothing about how that ends.
const S3: Words = Words {
    taken: &[(412, None)],
    absent: "NoSuchKey",
    codes: &[
        // The last is how versitygw says the first.
        (&["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "XAdminUserNotFound"], Retry::Never, S3_KEYS),
        // An identity that is handed out anew before it expires.
        (&["ExpiredToken", "TokenRefreshRequired"], Retry::Backoff, S3_KEYS),
        (&["RequestTimeTooSkewed"], Retry::Backoff, CLOCK),
        (&["AccessDenied", "AllAccessDisabled", "AccountProblem"], Retry::Never, S3_RIGHTS),
        (&["NoSuchBucket", "InvalidBucketName"], Retry::Never, "create the bucket, or correct `bucket` or `endpoint`"),
        (
            &["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"],
            Retry::Never,
            S3_REGION,
        ),
        (&["NotImplemented"], Retry::Never, CONDITION),
    ],
    rights: S3_RIGHTS,
    elsewhere: S3_REGION,
    nobody: "no credentials were found: name them in `spec.checkpoint.storage.s3.credentials`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
             or give the pod or machine an identity",
    certificate: "the endpoint's certificate is not trusted: name its authority in `spec.checkpoint.storage.s3.ca`, or add it to the system's",
    stranger: "this is not how an S3 store answers: check `endpoint`",
    silence: "check `endpoint` and the network",
};

const GCS_KEYS: &str =
    "check `spec.checkpoint.storage.gcs.credentials.serviceAccountKey`, or what the environment says";
const GCS_RIGHTS: &str =
    "this account needs storage.objects.list, .get, .create and .delete on the bucket (the role Storage Object User)";
const GCS_ELSEWHERE: &str = "this is not how Google Cloud Storage answers: check the network";

/// Policies of an organisation are told as a 412, too, so the code is asked for.
const GCS: Words = Words {
    taken: &[(412, Some("PreconditionFailed"))],
    absent: "NoSuchKey",
    codes: &[
        (&["AuthenticationRequired", "InvalidSecurity", "InvalidToken"], Retry::Never, GCS_KEYS),
        (&["ExpiredToken"], Retry::Backoff, GCS_KEYS),
        (&["RequestTimeTooSkewed"], Retry::Backoff, CLOCK),
        (&["AccessDenied", "AccountProblem"], Retry::Never, GCS_RIGHTS),
        (&["NoSuchBucket", "InvalidBucketName"], Retry::Never, "create the bucket, or correct `bucket`"),
        (&["NotImplemented"], Retry::Never, CONDITION),
    ],
    rights: GCS_RIGHTS,
    elsewhere: GCS_ELSEWHERE,
    nobody: "no credentials were found: name them in `spec.checkpoint.storage.gcs.credentials`, or set GOOGLE_APPLICATION_CREDENTIALS, \
             or give the pod or machine an identity",
    certificate: SYSTEM,
    stranger: GCS_ELSEWHERE,
    silence: "check the network",
};

const AZURE_KEYS: &str = "check `spec.checkpoint.storage.azure.credentials.accessKey` and `account`, or what the environment says, and this machine's clock";
const AZURE_RIGHTS: &str = "this identity needs to list, read, write and delete blobs of the container (the role Storage Blob Data Contributor), \
                            and the account's network rules must let it in";
const AZURE_ELSEWHERE: &str = "this is not how Azure answers: check `account` and `endpoint`";

/// A blob that exists is told as a 409 of its own; other conflicts say nothing about the name, nor do other failed
/// conditions (leases are one).
const AZURE: Words = Words {
    taken: &[(409, Some("BlobAlreadyExists")), (412, Some("ConditionNotMet"))],
    absent: "BlobNotFound",
    codes: &[
        (
            &["AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"],
            Retry::Never,
            AZURE_KEYS,
        ),
        (
            &["AuthorizationFailure", "AuthorizationPermissionMismatch", "InsufficientAccountPermissions"],
            Retry::Never,
            AZURE_RIGHTS,
        ),
        (
            &["ContainerNotFound", "ContainerDisabled", "ResourceNotFound", "InvalidResourceName"],
            Retry::Never,
            "create the container, or correct `container` or `account`",
        ),
        (&["UnsupportedHeader", "NotImplemented"], Retry::Never, CONDITION),
    ],
    rights: AZURE_RIGHTS,
    elsewhere: AZURE_ELSEWHERE,
    nobody: "no credentials were found: name them in `spec.checkpoint.storage.azure.credentials`, or give the pod or machine an identity",
    certificate: SYSTEM,
    stranger: AZURE_ELSEWHERE,
    silence: "check `account`, `endpoint` and the network",
};
