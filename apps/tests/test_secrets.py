"""Where settings come from, in which order, and that secrets are masked."""

import logging
from pathlib import Path

import pytest

from weather_common.logs import install_redaction
from weather_common.secrets import SecretError, read_secret, read_setting, redact


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "app.env"
    monkeypatch.setenv("APP_ENV_FILE", str(path))
    return path


def test_the_file_variable_comes_first(env_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from-file\n")
    env_file.write_text("X_KEY=from-env-file\n")
    monkeypatch.setenv("X_KEY", "from-environment")
    monkeypatch.setenv("X_KEY_FILE", str(tmp_path / "key"))
    assert read_setting("X_KEY", default="from-default") == "from-file"


def test_then_the_env_file(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("# rendered\nexport X_KEY='a $HOME # \"value\"'\n")
    monkeypatch.setenv("X_KEY", "from-environment")
    assert read_setting("X_KEY") == 'a $HOME # "value"'


def test_then_the_environment_then_the_default(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("OTHER=1\n")
    assert read_setting("X_KEY", default="from-default") == "from-default"
    monkeypatch.setenv("X_KEY", "from-environment")
    assert read_setting("X_KEY", default="from-default") == "from-environment"


def test_missing_everywhere_names_all_three_places(env_file: Path) -> None:
    with pytest.raises(SecretError, match=rf"X_KEY is not set: looked for X_KEY_FILE .*{env_file}.*variable X_KEY"):
        read_setting("X_KEY")


def test_a_wrong_path_is_an_error_and_not_the_old_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X_KEY", "old")
    monkeypatch.setenv("X_KEY_FILE", "/vault/secrets/INVALID")
    with pytest.raises(SecretError, match="X_KEY_FILE=/vault/secrets/INVALID: cannot read the file: No such file"):
        read_setting("X_KEY")


@pytest.mark.parametrize("content", [b"", b" \n\t"])
def test_an_empty_file_is_an_error(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv("X_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(SecretError, match=r"X_KEY: the value in X_KEY_FILE=.* is empty"):
        read_setting("X_KEY")


def test_binary_files_are_an_error(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_bytes(b"\xff\xfe=\x80")
    with pytest.raises(SecretError, match="not UTF-8"):
        read_setting("X_KEY")
    monkeypatch.setenv("X_KEY_FILE", str(env_file))
    with pytest.raises(SecretError, match="not UTF-8"):
        read_setting("X_KEY")


def test_an_env_file_that_is_a_folder_is_an_error_or_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_ENV_FILE", str(tmp_path))
    assert read_setting("X_KEY", default="d") == "d"


def test_a_secret_is_masked_wherever_it_turns_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("X_KEY", "s3cr/t+value")
    secret = read_secret("X_KEY")
    assert secret.get_secret_value() == "s3cr/t+value"
    assert "s3cr" not in repr(secret) + str(secret)
    assert redact("a s3cr/t+value b s3cr%2Ft%2Bvalue c") == "a *** b *** c"
    install_redaction()
    install_redaction()  # twice does no harm
    log = logging.getLogger("some.library")
    log.error("GET /x?appid=%s&units=standard", "never-read-by-us")
    log.error("100%", "s3cr/t+value")
    try:
        raise ValueError("with s3cr/t+value inside")
    except ValueError:
        log.exception("failed")
    assert "appid=***&units=standard" in caplog.text
    assert "with *** inside" in caplog.text
    assert "never-read-by-us" not in caplog.text
    assert "s3cr" not in caplog.text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://h/w?lat=1&appid=abc", "https://h/w?lat=1&appid=***"),
        ("url: /w?appid=abc&lat=1 (Caused by)", "url: /w?appid=***&lat=1 (Caused by)"),
        ("{'appid': 'abc', 'lat': 1}", "{'appid': '***', 'lat': 1}"),
        ("%3FAPPID%3Dabc", "%3FAPPID%3D***"),
        ("nothing here", "nothing here"),
    ],
)
def test_appid_is_masked_in_any_form(text: str, clean: str) -> None:
    assert redact(text) == clean
