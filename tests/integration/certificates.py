"""Certificates for tests, made with the openssl command: an authority, a node's, a stranger's."""

from __future__ import annotations

import subprocess
from pathlib import Path


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


def _key(folder: Path, name: str) -> None:
    _openssl(folder, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", f"{name}.key")


def authority(folder: Path, name: str) -> None:
    """Writes name.key and name.crt."""
    _key(folder, name)
    words = ["req", "-x509", "-new", "-sha256", "-days", "30", "-key", f"{name}.key"]
    _openssl(folder, *words, "-subj", f"/CN={name}", "-out", f"{name}.crt")


def certificate(folder: Path, name: str, signer: str, place: str = "") -> None:
    """Writes name.key and name.crt, signed by an authority; `place` as in `IP:127.0.0.1`."""
    _key(folder, name)
    request = ["req", "-new", "-sha256", "-key", f"{name}.key", "-subj", f"/CN={name}"]
    _openssl(folder, *request, "-out", f"{name}.csr")
    sign = ["x509", "-req", "-sha256", "-days", "30", "-in", f"{name}.csr", "-CAcreateserial"]
    if place:
        (folder / f"{name}.ext").write_text(f"subjectAltName={place}\n")
        sign += ["-extfile", f"{name}.ext"]
    _openssl(
        folder, *sign, "-CA", f"{signer}.crt", "-CAkey", f"{signer}.key", "-out", f"{name}.crt"
    )


def with_password(folder: Path, name: str, password: str) -> None:
    """Writes name.locked.key: the same key, encrypted."""
    words = ["ec", "-in", f"{name}.key", "-aes256", "-passout", f"pass:{password}"]
    _openssl(folder, *words, "-out", f"{name}.locked.key")


def all_certificates(folder: Path) -> Path:
    """An authority `ca` with `node` and `other`, and `stranger` of an authority of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    authority(folder, "ca")
    authority(folder, "elsewhere")
    for name, signer in (("node", "ca"), ("other", "ca"), ("stranger", "elsewhere")):
        certificate(folder, name, signer)
    with_password(folder, "node", "sesame")
    return folder
