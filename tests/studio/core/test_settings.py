"""The studio's settings: checked, kept, and changed all or none."""

import pytest

from pipelines.core.errors import BadRequest
from studio.core.settings import Settings, StoredSettings
from studio.core.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


def test_a_new_studio_has_the_defaults(store):
    assert StoredSettings(store).current == Settings()


def test_a_change_is_kept_over_a_restart_and_leaves_the_others(store):
    settings = StoredSettings(store)
    settings.change(queue_limit=3)
    settings.change(save_metadata=False)
    again = StoredSettings(store).current
    assert (again.queue_limit, again.save_metadata) == (3, False)
    assert again == settings.current
    assert again.guest_quota_mb == Settings().guest_quota_mb


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"queue_limit": 0}, "Queue limit is 0; it must be at least 1"),
        ({"guest_quota_mb": "much"}, r"Guest quota \(MB\) cannot be much"),
        ({"outputs_limit_gb": float("nan")}, r"Limit of all pictures \(GB\) is nan"),
        ({"door": "open"}, "There is no setting called door"),
    ],
)
def test_a_bad_value_changes_nothing(store, changes, sentence):
    settings = StoredSettings(store)
    with pytest.raises(BadRequest, match=sentence):
        settings.change(save_metadata=False, **changes)
    assert settings.current == Settings()
    assert StoredSettings(store).current == Settings()


def test_settings_of_another_version_are_left_alone(store):
    store.write("INSERT INTO settings (name, value) VALUES ('of_tomorrow', '[1]')")
    StoredSettings(store).change(queue_limit=5)
    rows = {row["name"]: row["value"] for row in store.rows("SELECT * FROM settings")}
    assert rows == {"of_tomorrow": "[1]", "queue_limit": "5"}
