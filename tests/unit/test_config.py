"""Settings: where they come from, and which of them cannot work together."""

import os
from pathlib import Path

import pytest

from edgescale.config import Settings, is_loopback, load_settings, split_address
from edgescale.errors import ConfigError


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("EDGESCALE_"):
            monkeypatch.delenv(name)


def load(**flags: object) -> Settings:
    return load_settings(os.environ, **flags)


def test_defaults_work_together() -> None:
    settings = load()
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.partitions == 1


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_the_environment_sets_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LANE_CAP", "500")
    assert load().lane_cap == 500


def test_a_flag_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LANE_CAP", "500")
    assert load(lane_cap=7).lane_cap == 7
    assert load(lane_cap=None).lane_cap == 500


def test_pairs_are_read_from_one_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LANE_CAPS", "text=500, file=50,")
    assert load().lane_caps == {"text": 500, "file": 50}


def test_a_lane_without_a_cap_of_its_own_has_the_common_one() -> None:
    settings = load(lane_cap=100, lane_caps={"text": 5})
    assert (settings.cap_of("text"), settings.cap_of("file")) == (5, 100)


def test_a_worker_runs_what_its_lanes_have_slots_for_unless_it_may_run_less() -> None:
    assert load(worker_lanes={"text": 5, "file": 2}).slots_max == 7
    assert load(worker_lanes={"text": 5, "file": 2}, worker_slots_max=4).slots_max == 4


def test_a_lane_without_a_weight_of_its_own_weighs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LANE_WEIGHTS", "heartbeat=8,text=1000")
    assert load().weights == {"heartbeat": 8, "text": 1_000, "file": 1}


@pytest.mark.parametrize("value", ["text", "text=", "text=many", "text=0", "text=-1", "=5", "Text=1", "a b=1"])
def test_pairs_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EDGESCALE_WORKER_LANES", value)
    with pytest.raises(ConfigError, match="EDGESCALE_WORKER_LANES"):
        load()


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", ""])
def test_a_number_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("EDGESCALE_LEASE_MS", value)
    with pytest.raises(ConfigError, match="EDGESCALE_LEASE_MS: "):
        load()


def test_an_unknown_setting_is_refused_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LAIN_CAP", "5")
    with pytest.raises(ConfigError, match="unknown setting EDGESCALE_LAIN_CAP: did you mean EDGESCALE_LANE_CAP"):
        load()


def test_an_unknown_setting_without_a_near_name_points_to_the_documentation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_QQQQQQQQQQQQ", "5")
    with pytest.raises(ConfigError, match=r"docs/configuration\.md"):
        load()


def test_all_that_is_wrong_with_single_settings_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESCALE_LEASE_MS", "no")
    monkeypatch.setenv("EDGESCALE_LOG_LEVEL", "loud")
    with pytest.raises(ConfigError, match=r"EDGESCALE_LEASE_MS: .*; EDGESCALE_LOG_LEVEL: "):
        load()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"sweep_ms": 1_000, "lease_ms": 1_000}, "sweep_ms .* must be below lease_ms"),
        ({"wait_default_ms": 10, "wait_max_ms": 9}, "wait_default_ms .* must not be above wait_max_ms"),
        ({"result_ttl_ms": 120_000}, "result_ttl_ms .* must be above wait_max_ms"),
        ({"agent_stale_after_ms": 300_000}, "agent_stale_after_ms .* must be below agent_gone_after_ms"),
        ({"agent_retention_ms": 299_999}, "agent_gone_after_ms .* must not be above"),
        ({"worker_lanes": {}}, "worker_lanes must name at least one lane"),
        ({"worker_slots_max": -1}, "EDGESCALE_WORKER_SLOTS_MAX: .* greater than or equal to 0"),
        (
            {"lane_weights": {"txt": 2}},
            "lane_weights: 'txt' is no lane of worker_lanes; those are file, heartbeat, text",
        ),
        (
            {"worker_lanes": {"file": 1}, "lane_weights": {"text": 2}},
            "'text' is no lane of worker_lanes; those are file",
        ),
        ({"lane_weights": {"text": 1_001}}, "the weight of text must be at most 1000, not 1001"),
        ({"lane_weights": {"text": 0}}, "EDGESCALE_LANE_WEIGHTS.*greater than 0"),
        ({"partitions": 8, "lane_caps": {"text": 7}}, "every lane's cap must be at least partitions"),
        ({"partitions": 8, "lane_caps": {"mine": 7}}, "every lane's cap must be at least partitions"),
        ({"partitions": 8, "lane_cap": 7}, "every lane's cap must be at least partitions"),
        ({"grpc_bind": "0.0.0.0:50051"}, "grpc_bind 0.0.0.0:50051 is not a loopback address"),
        ({"http_bind": "[::]:8080"}, "http_bind .* is not a loopback address"),
        ({"http_bind": "example.com:8080"}, "http_bind .* is not a loopback address"),
        ({"grpc_bind": "50051"}, "grpc_bind must be host:port"),
        ({"http_bind": "127.0.0.1:65536"}, "http_bind must be host:port"),
    ],
)
def test_what_cannot_work_is_refused_with_a_sentence(flags: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load(**flags)


def test_listening_off_loopback_needs_plain_words() -> None:
    settings = load(grpc_bind="0.0.0.0:50051", http_bind="[::]:8080", allow_insecure_bind=True)
    assert settings.grpc_bind == "0.0.0.0:50051"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.com", "127.0.0.1.nip.io", ""])  # noqa: S104 - what must be refused
def test_what_others_can_reach_is_not_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:80", ("::1", 80)), ("name:65535", ("name", 65535))],
)
def test_an_address_has_host_and_port(address: str, expected: tuple[str, int]) -> None:
    assert split_address("bind", address) == expected


@pytest.mark.parametrize("address", ["", ":80", "host", "host:", "host:-1", "host:1e3", "host:65536", "host: 80"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="bind must be host:port"):
        split_address("bind", address)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().data_dir = Path("elsewhere")  # type: ignore[misc]
