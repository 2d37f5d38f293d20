"""What went wrong with the store, in the user's words: never a request, never a credential."""

from collections.abc import Iterator
from contextlib import contextmanager

from fgds_core.errors import InputError

_CHECK = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"
_CREDENTIALS = ("the credentials are not accepted", f"correct or renew them: {_CHECK}")
_REFUSED = (
    "access is denied",
    "allow these credentials s3:ListBucket on the bucket and s3:GetObject, s3:PutObject and "
    "s3:DeleteObject on what is in it, or use others",
)
_BUCKET = ("there is no such bucket", "create it, or correct store.url and store.endpoint_url")
_REGION = (
    "the bucket is in another region",
    "set AWS_DEFAULT_REGION to the bucket's region, or correct store.endpoint_url",
)
_CONDITIONS = (
    "the service lacks conditional writes (If-None-Match) or SHA-256 checksums",
    "use one that does, such as AWS S3, or a newer version",
)

_LATER = "run again when the service is well; finished parts are kept"

REASONS = {
    "NoSuchBucket": _BUCKET,
    "404": _BUCKET,
    "InvalidBucketName": _BUCKET,
    "AccessDenied": _REFUSED,
    "AllAccessDisabled": _REFUSED,
    "403": _REFUSED,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "TokenRefreshRequired": _CREDENTIALS,
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set it"),
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "301": _REGION,
    "NotImplemented": _CONDITIONS,
    "501": _CONDITIONS,
}
"""What an error code of S3 means, and what to do."""


@contextmanager
def translate_errors(operation: str, address: str) -> Iterator[None]:
    """Says what botocore raises as one message: what is wrong, where, what to do.

    Args:
        operation: What was tried: open, list, read, write or delete.
        address: Of the bucket or the object.

    Raises:
        InputError: In place of an error of botocore.
    """
    from boto3.exceptions import RetriesExceededError as GaveUp
    from botocore import exceptions as boto
    from s3transfer.exceptions import RetriesExceededError

    try:
        yield
    except boto.ClientError as error:
        code = str(error.response["Error"].get("Code"))
        attempts = error.response["ResponseMetadata"].get("RetryAttempts", 0) + 1
        failed = "the service refuses it" if attempts == 1 else f"{attempts} attempts failed"
        what, remedy = REASONS.get(code, (failed, _LATER))
        what += f" ({code})"
    except (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.MetadataRetrievalError,
        boto.NoAuthTokenError,
        boto.TokenRetrievalError,
        boto.SSOError,
        boto.LoginError,
        boto.ProfileNotFound,
    ) as error:
        what, remedy = (f"boto3 finds no credentials ({type(error).__name__})", f"set {_CHECK}")
    except (RetriesExceededError, GaveUp) as error:
        cause = type(error.last_exception).__name__
        what, remedy = (f"the connection breaks off again and again ({cause})", _LATER)
    except (boto.ConnectionError, boto.HTTPClientError) as error:
        what = f"the service does not answer ({type(error).__name__})"
        remedy = "check the network and store.endpoint_url; finished parts are kept"
    except boto.BotoCoreError as error:
        what, remedy = (f"{type(error).__name__}: {error}", "correct the settings of boto3")
    else:
        return
    raise InputError(f"store: cannot {operation} {address}: {what}; {remedy}")
