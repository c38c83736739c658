"""Addresses that a caller names: what is let through, and that what is odd is refused rather than repaired."""

from __future__ import annotations

import socket

import pytest

from cds_service.net.addresses import allowed_base, is_public, linked, read_address
from cds_service.net.resolver import PublicResolver

BASES = ("https://ehr.example/api/fhir", "https://two.example:8443", "http://127.0.0.1:9000/fhir")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://ehr.example/api/fhir", "https://ehr.example/api/fhir"),
        ("https://ehr.example/api/fhir/", "https://ehr.example/api/fhir"),
        ("HTTPS://EHR.Example:443/api/fhir", "https://ehr.example/api/fhir"),
        ("https://ehr.example/api/fhir/tenant-7", "https://ehr.example/api/fhir/tenant-7"),
        ("https://two.example:8443", "https://two.example:8443"),
        ("https://two.example:8443/fhir", "https://two.example:8443/fhir"),
    ],
)
def test_a_configured_base_is_let_through_however_it_is_spelt(given: str, meant: str) -> None:
    assert str(allowed_base(given, BASES)) == meant


@pytest.mark.parametrize(
    "given",
    [
        "http://ehr.example/api/fhir",
        "https://ehr.example/api/fhirx",
        "https://ehr.example/api",
        "https://ehr.example:8443/api/fhir",
        "https://ehr.example.evil.example/api/fhir",
        "https://evil.example/https://ehr.example/api/fhir",
        "https://two.example",
        "https://ehr.example/api/fhir?x=1",
        "https://ehr.example/api/fhir#part",
        "http://127.0.0.1:9000/fhir",
        "",
        " https://ehr.example/api/fhir",
        "https://ehr.example/api/fhir\n",
    ],
)
def test_whatever_is_not_configured_is_refused(given: str) -> None:
    assert allowed_base(given, BASES) is None


@pytest.mark.parametrize("path", ["/fhir", "/fhir/", "/fhir/tenant"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_http_of_this_machine_is_for_development_only(host: str, path: str) -> None:
    base = f"http://{host}:9000/fhir"
    assert allowed_base(f"http://{host}:9000{path}", [base], loopback=True)
    assert allowed_base(f"http://{host}:9000{path}", [base]) is None
    assert allowed_base("http://ehr.example/fhir", ["http://ehr.example/fhir"], loopback=True) is None


@pytest.mark.parametrize(
    "odd",
    [
        "https://10.0.0.1/fhir",
        "https://8.8.8.8/fhir",
        "https://[2001:4860:4860::8888]/fhir",
        "https://[::1]/fhir",
        "https://2130706433/fhir",
        "https://0x7f.1/fhir",
        "https://0177.0.0.1/fhir",
        "https://127.1/fhir",
        "https://ehr/fhir",
        "https://localhost/fhir",
        "https://ehr.example./fhir",
        "https://-ehr.example/fhir",
        "https://user@ehr.example/fhir",
        "https://user:secret@ehr.example/fhir",
        "https://ehr.example\\@evil.example/fhir",
        "https:/\\ehr.example/fhir",
        "https://ehr.example/fhir/../admin",
        "https://ehr.example/fhir/./x",
        "https://ehr.example/fhir/%2e%2e/admin",
        "https://ehr.example/fhir/%2E%2E%2Fadmin",
        "https://ehr.example/fhir\\..\\admin",
        "https://ehr.example/fhir/..;/admin",
        "https://ehr.example//fhir",
        "https://ehr.example/fhir\x00",
        "https://ehr.example/fh\tir",
        "https://ehr.example:0/fhir",
        "https://ehr.example:65536/fhir",
        "https://ehr.example:/fhir",
        "https://①②⑦.⓪.⓪.①/fhir",
        "https://ehr。example/fhir",
        "https://ехr.example/fhir",
        "https:///fhir",
        "//ehr.example/fhir",
        "ftp://ehr.example/fhir",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://ehr.example/" + "x" * 9000,
    ],
)
def test_an_odd_address_is_refused_even_where_it_is_configured(odd: str) -> None:
    assert read_address(odd) is None
    assert allowed_base(odd, [odd]) is None


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("https://ehr.example/fhir?_getpages=1&_offset=20", "https://ehr.example/fhir?_getpages=1&_offset=20"),
        ("https://ehr.example/fhir/Observation?page=2", "https://ehr.example/fhir/Observation?page=2"),
        ("?page=2", "https://ehr.example/fhir/Observation?page=2"),
        ("/fhir/Observation?page=a|b%20c", "https://ehr.example/fhir/Observation?page=a|b%20c"),
    ],
)
def test_a_link_is_followed_as_it_stands(link: str, leads_to: str) -> None:
    current, base = read_address("https://ehr.example/fhir/Observation?x=1"), read_address("https://ehr.example/fhir")
    assert current is not None
    assert base is not None
    following = linked(link, current)
    assert str(following) == leads_to
    assert following is not None
    assert following.is_within(base)


@pytest.mark.parametrize(
    "link", ["https://[", "../../admin?x", "https://evil.example/fhir", "http://ehr.example/fhir?p=2", "x y"]
)
def test_a_link_that_leads_away_is_not_followed(link: str) -> None:
    current, base = read_address("https://ehr.example/fhir/Observation?x=1"), read_address("https://ehr.example/fhir")
    assert current is not None
    assert base is not None
    following = linked(link, current)
    assert following is None or not following.is_within(base)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False),
        ("2002:7f00:1::1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("nonsense", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.asyncio
@pytest.mark.parametrize("answers", [[], ["10.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["8.8.8.8", "::1"]])
async def test_a_name_with_even_one_address_that_is_not_public_is_refused(answers: list[str]) -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return answers

    with pytest.raises(OSError, match="no public address"):
        await PublicResolver(lookup, loopback=True).resolve("ehr.example", 443)


@pytest.mark.asyncio
async def test_a_name_is_connected_to_by_the_very_addresses_that_were_checked() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["8.8.8.8", "2001:4860:4860::8888", "8.8.8.8"]

    found = await PublicResolver(lookup, loopback=False).resolve("ehr.example", 443)
    assert [(item["host"], item["port"], item["family"]) for item in found] == [
        ("8.8.8.8", 443, socket.AF_INET),
        ("2001:4860:4860::8888", 443, socket.AF_INET6),
    ]
