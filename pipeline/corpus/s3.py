"""Requests to S3 that Arrow's file system spends several on: one GET for a file, one POST to delete a thousand."""

import concurrent.futures
import errno
import functools
import itertools
import os
import urllib.parse
from collections.abc import Iterable
from typing import Any

# The most keys that one DeleteObjects request takes.
_KEYS = 1000

_THREADS = 8

_NOT_FOUND = frozenset({"NoSuchKey", "404"})


class Bucket:
    """A bucket under the addresses and keys of an ``s3://`` URI as Arrow reads it.

    Args:
        uri: ``s3://[key:secret@]bucket/prefix[?region=...&scheme=...&endpoint_override=...]``.
    """

    def __init__(self, uri: str) -> None:
        parts = urllib.parse.urlsplit(uri)
        # Arrow decodes the parts of the URI, too.
        self._key, self._secret = (
            urllib.parse.unquote(part) if part else None for part in (parts.username, parts.password)
        )
        self.name = parts.hostname or ""
        self._options = dict(urllib.parse.parse_qsl(parts.query))

    @functools.cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        endpoint = self._options.get("endpoint_override") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint and "://" not in endpoint:
            endpoint = f"{self._options.get('scheme', 'https')}://{endpoint}"
        return boto3.client(
            "s3",
            region_name=self._options.get("region"),
            endpoint_url=endpoint,
            aws_access_key_id=self._key,
            aws_secret_access_key=self._secret,
            config=Config(
                # As Arrow does: a server of one's own rarely has a name per bucket.
                s3={"addressing_style": "path" if endpoint else "auto"},
                retries={"max_attempts": 3, "mode": "standard"},
                connect_timeout=5,
                max_pool_connections=_THREADS,
                # Servers other than Amazon's do not all know the newer checksums.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def get(self, key: str) -> bytes:
        """Content of an object, in one request.

        Raises:
            OSError: The store refused; FileNotFoundError where the object does not exist.
        """
        content: bytes = _ask(lambda: self._client.get_object(Bucket=self.name, Key=key)["Body"].read())
        return content

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, up to a thousand in one request; those that do not exist count as deleted.

        Raises:
            OSError: The store refused.
        """
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            # itertools.batched came with Python 3.12.
            rest = iter(keys)
            batches = iter(lambda: list(itertools.islice(rest, _KEYS)), [])
            for refused in pool.map(self._delete, batches):
                if refused:
                    first = refused[0]
                    raise OSError(f"{first['Key']}: {first.get('Code')}, {first.get('Message')}")

    def _delete(self, keys: list[str]) -> list[dict[str, str]]:
        if len(keys) == 1:
            _ask(lambda: self._client.delete_object(Bucket=self.name, Key=keys[0]))
            return []
        objects = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = _ask(lambda: self._client.delete_objects(Bucket=self.name, Delete=objects))
        refused: list[dict[str, str]] = answer.get("Errors", [])
        return refused


def _ask(request: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as Unreachable

    try:
        return request()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        text = f"{code}, {error.response.get('Error', {}).get('Message', error)}"
        if code in _NOT_FOUND:
            raise FileNotFoundError(errno.ENOENT, text) from error
        raise OSError(text) from error
    except (Unreachable, HTTPClientError) as error:
        raise OSError(f"NETWORK_CONNECTION, {error}") from error
    except BotoCoreError as error:
        raise OSError(str(error)) from error
