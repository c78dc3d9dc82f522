"""The certificate with which the relay serves HTTPS, also after it was renewed."""

import ssl
from pathlib import Path

from glue import logs
from glue.errors import SettingsError

log = logs.get("relay")


class Certificate:
    """A chain and its key; SettingsError where they cannot be used."""

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load()

    def renew(self) -> None:
        """Read the files again, for the connections to come; unusable ones change nothing."""
        try:
            self._load()
        except SettingsError as error:
            log.error("certificate not renewed", reason=error.message)  # noqa: TRY400
        else:
            log.info("certificate renewed")

    def _load(self) -> None:
        try:
            # a pair that does not fit must not be left half loaded
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._chain, self._key)
            self.context.load_cert_chain(self._chain, self._key)
        except OSError as error:  # SSLError is one
            raise SettingsError(
                f"the certificate {self._chain} with the key {self._key} cannot be used: {error}",
                "Name a PEM file with the chain and one with its key, readable by the relay: "
                "--tls-cert and --tls-key.",
            ) from error
