"""Operator, account and user made for a test: their keys, their tokens, a credentials file; and a certificate."""

import base64
import hashlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nkeys


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """A pair of keys of one rank."""

    def __init__(self, prefix: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), prefix)
        self.pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self.pair.public_key.rstrip(b"=").decode()

    def token_for(self, who: "Key", name: str, claims: dict[str, Any]) -> str:
        """What *who* is, signed with this key."""
        body = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": who.public, "nats": claims}
        digest = hashlib.sha512(json.dumps(body).encode()).digest()[:32]
        body["jti"] = base64.b32encode(digest).rstrip(b"=").decode()
        head = _b64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        signed = f"{head}.{_b64(json.dumps(body).encode())}"
        return f"{signed}.{_b64(self.pair.sign(signed.encode()))}"


@dataclass
class Realm:
    """What a server has to be told, and what a user logs in with."""

    config: str
    credentials: Path
    seed: str
    token: str


def realm(folder: Path) -> Realm:
    """An operator with a system account, an account that may use JetStream, and a user of it."""
    operator, system, account, user = (
        Key(prefix)
        for prefix in (
            nkeys.PREFIX_BYTE_OPERATOR,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_ACCOUNT,
            nkeys.PREFIX_BYTE_USER,
        )
    )
    free = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1) | {"wildcards": True}
    storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    rank = {"version": 2}
    operators = operator.token_for(operator, "op", {"type": "operator", "system_account": system.public, **rank})
    systems = operator.token_for(system, "sys", {"type": "account", "limits": free, **rank})
    accounts = operator.token_for(account, "acc", {"type": "account", "limits": free | storage, **rank})
    limits = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
    users = account.token_for(user, "worker", {"type": "user", **limits, **rank})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operator.jwt").write_text(operators)
    file = folder / "worker.creds"
    seed = user.seed.decode()
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{users}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
    config = (
        f'operator: "{folder}/operator.jwt"\nsystem_account: {system.public}\nresolver: MEMORY\n'
        f"resolver_preload: {{ {system.public}: {systems}\n {account.public}: {accounts} }}\n"
    )
    return Realm(config, file, seed, users)


@dataclass
class Certificate:
    """A certificate that signs itself, for localhost."""

    file: Path
    key: Path

    @property
    def config(self) -> str:
        return f'tls {{ cert_file: "{self.file}", key_file: "{self.key}" }}\n'


def certificate(folder: Path) -> Certificate:
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(made.key), "-out", str(made.file), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return made
