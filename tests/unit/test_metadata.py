"""A VM's own metadata: policy and address, whatever somebody wrote there."""

from ipaddress import IPv4Address
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.hypervisor.domain_xml import parse_domain
from backend.hypervisor.metadata import VmMetadata, literal_address, read_metadata
from backend.lab.domain import domain_xml
from backend.lab.layout import LabVm
from backend.model import Tags

HEAD = "<domain><name>a</name><uuid>6695eb01-f6a4-8304-79aa-97f2502e193f</uuid>"
NAMES = st.from_regex(r"[a-z0-9-]{1,40}", fullmatch=True)


def domain(attributes: str, namespace: str = "urn:virt-ferry:1") -> str:
    other = "<o:x xmlns:o='urn:other' policy='theirs'><o:vm policy='theirs'/></o:x>"
    ours = f"<ferry:vm xmlns:ferry='{namespace}' {attributes}/>"
    return f"{HEAD}<metadata>{other}{ours}</metadata></domain>"


def read(attributes: str) -> VmMetadata:
    config = parse_domain(domain(attributes))
    return VmMetadata(config.policy, config.address, config.tags)


def test_policy_and_address_are_read() -> None:
    assert read("policy='gentle' address='10.77.0.101'") == VmMetadata("gentle", "10.77.0.101")
    assert read("address='2001:DB8::0:1'") == VmMetadata(None, "2001:db8::1")
    assert read("") == VmMetadata()


def test_tags_are_read() -> None:
    found = read(
        "never='yes' prefer='kvm-b kvm-c' with='shop' with-soft='a,b' apart='dns' apart-soft='web'"
    )
    assert found.tags == Tags(
        never=True,
        prefer=("kvm-b", "kvm-c"),
        together=("shop",),
        together_soft=("a", "b"),
        apart=("dns",),
        apart_soft=("web",),
    )
    assert found.tags.grouped
    assert not read("never='yes' prefer='kvm-b'").tags.grouped


@pytest.mark.parametrize(
    ("said", "never"),
    [
        *(("yes", True), ("TRUE", True), (" 1 ", True), ("on", True)),
        *(("no", False), ("false", False), ("0", False), ("", False)),
    ],
)
def test_never_is_yes_or_no(said: str, never: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert read(f"never={quoteattr(said)}").tags.never is never
    assert not caplog.text


def test_whoever_wrote_anything_else_wanted_it_to_stay(caplog: pytest.LogCaptureFixture) -> None:
    assert read("never='please'").tags.never
    assert "'please' is taken for yes" in caplog.text


@pytest.mark.parametrize("word", ["-f", "a;b", "[red]", "$(x)", "ä", "x" * 64, "\u202e", "../x"])
def test_an_odd_name_is_ignored_and_the_others_kept(
    word: str, caplog: pytest.LogCaptureFixture
) -> None:
    for attribute in ("prefer", "with", "with-soft", "apart", "apart-soft"):
        caplog.clear()
        tags = read(f"{attribute}={quoteattr(f'one {word} two')}").tags
        kept = (tags.prefer, tags.together, tags.together_soft, tags.apart, tags.apart_soft)
        assert sum(kept, ()) == ("one", "two")
        assert f"{attribute} " in caplog.text


def test_names_are_few_and_each_once() -> None:
    assert read("with='a a b,a'").tags.together == ("a", "b")
    assert len(read(f"with='{' '.join(f'g{n}' for n in range(5000))}'").tags.together) == 32


def test_nothing_of_others_is_taken_for_ours() -> None:
    config = parse_domain(domain("policy='gentle'", "urn:virt-ferry:2"))
    assert (config.policy, config.address) == (None, None)
    assert parse_domain(f"{HEAD}</domain>").policy is None


@pytest.mark.parametrize("policy", ["", "Gentle", "a b", "x" * 41, "a;b", "ä", "../x"])
def test_an_odd_policy_is_ignored_with_a_word(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(f"policy={quoteattr(policy)} address='10.0.0.1'") == VmMetadata(None, "10.0.0.1")
    assert "policy" in caplog.text


@pytest.mark.parametrize(
    "address",
    [
        *("", "db-1", "10.0.0", "10.0.0.1/24", "10.0.0.1; reboot", "-f", "10.0.0.1 -f"),
        *("0.0.0.0", "127.0.0.1", "::1", "::", "224.0.0.1", "255.255.255.255"),
        *("fe80::1", "fe80::1%eth0", "2001:db8::1%x", "ff02::1", "::ffff:127.0.0.1"),
        "1" * 5000,
    ],
)
def test_what_is_no_machines_address_is_ignored(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert literal_address(address) is None
    assert read(f"address={quoteattr(address)}").address is None
    assert "address" in caplog.text


@given(st.text(max_size=60))
def test_an_address_is_a_literal_or_nothing(text: str) -> None:
    found = literal_address(text)
    assert found is None or set(found) <= set("0123456789abcdef.:")


@given(NAMES, st.integers(0x01000000, 0x7E000000).map(IPv4Address))
def test_what_is_well_formed_is_kept(policy: str, address: IPv4Address) -> None:
    assert read(f"policy='{policy}' address='{address}'") == VmMetadata(policy, str(address))


def test_a_lab_vm_carries_its_address_and_no_policy() -> None:
    vm = LabVm(lab="x", index=2, name="db-1", home=0)
    config = parse_domain(domain_xml(vm, 512))
    assert (config.address, config.policy) == (vm.address, None)


def test_reading_changes_nothing() -> None:
    root = ElementTree.fromstring(domain("policy='gentle'"))
    before = ElementTree.tostring(root)
    read_metadata(root)
    assert ElementTree.tostring(root) == before
