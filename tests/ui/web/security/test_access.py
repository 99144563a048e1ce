"""What the page refuses: strangers without a password, paths outside, broken images, clicks without end, foreign requests."""

from __future__ import annotations

import asyncio

import pytest
from PIL import Image

from erase.errors import InputError
from ui.web.security.access import Rate, check_address, inside, loopback, model_source, read_auth, uploaded
from ui.web.security.login import guard
from ui.web.security.request_filter import BODY, RequestFilter, refusal

# --- who --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_password(host):
    assert loopback(host)
    check_address(host, share=False, auth={})


@pytest.mark.parametrize(
    ("host", "share"), [("0.0.0.0", False), ("192.168.0.4", False), ("::", False), ("example.org", False), ("::1", True)]
)
def test_what_strangers_can_reach_demands_a_password_and_says_why(host, share):
    with pytest.raises(InputError, match=r"start jobs here.*--auth USER:PASSWORD"):
        check_address(host, share, {})
    check_address(host, share, {"anna": "a long password"})


@pytest.mark.parametrize("port", [-1, 0, 65536, 99999])
def test_a_port_that_cannot_be_is_one_line(port):
    check_address("127.0.0.1", share=False, auth={}, port=7860)
    with pytest.raises(InputError, match=f"--port {port} is not a port; expected 1 to 65535"):
        check_address("127.0.0.1", share=False, auth={}, port=port)


def test_passwords_come_from_the_command_or_a_file(tmp_path):
    assert read_auth(None) == {}
    assert read_auth("anna:pass:word 1") == {"anna": "pass:word 1"}
    file = tmp_path / "users.txt"
    file.write_text("# two of us\nanna:secret-one\n\nben:secret-two\n")
    assert read_auth(str(file)) == {"anna": "secret-one", "ben": "secret-two"}
    file.write_text("anna:secret-one\nben\n")
    with pytest.raises(InputError, match="line 2"):
        read_auth(str(file))


@pytest.mark.parametrize("given", ["anna", ":password", "anna:", "anna:short", "   "])
def test_a_password_that_protects_nothing_is_refused(given):
    with pytest.raises(InputError, match="USER:PASSWORD"):
        read_auth(given)


def test_only_the_right_pair_opens():
    check = guard({"anna": "correct horse"})
    assert guard({}) is None
    pairs = [("anna", "correct horse"), ("anna", "correct horsf"), ("ben", "correct horse"), ("anna", ""), ("", "")]
    assert [asyncio.run(check(*pair)) for pair in pairs] == [True, False, False, False, False]


def test_a_rate_holds_for_each_visitor_and_forgives_with_time():
    now = [0.0]
    rate = Rate(3, 60, clock=lambda: now[0])
    for _ in range(3):
        rate.click("a")
    with pytest.raises(InputError, match="try again in 60 s"):
        rate.click("a")
    rate.click("b")
    now[0] = 60.5
    rate.click("a")


# --- what -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def roots(tmp_path):
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secret")
    return (tmp_path / "runs", tmp_path / "models")


def test_paths_inside_are_found_by_name_or_in_full(roots):
    assert inside("one", roots) == roots[0] / "one"
    assert inside(str(roots[0] / "one"), roots) == roots[0] / "one"
    assert inside("one/../one", roots) == roots[0] / "one"


@pytest.mark.parametrize(
    "given", ["/etc/passwd", "../secret", "one/../../secret", "link", "", "  ", "a\x00b", "x" * 2000, "absent", "~", "/"]
)
def test_paths_outside_are_refused_in_the_same_words_as_absent_ones(roots, given):
    with pytest.raises(InputError, match="is not a folder or file in runs, models"):
        inside(given, roots)


def test_models_are_demo_runs_folders_files_or_names_on_the_hub(roots):
    for folder in (roots[0] / "one" / "model", roots[1] / "sd"):
        folder.mkdir()
        (folder / "model_index.json").write_text("{}")
    (roots[1] / "one.safetensors").write_bytes(b"")
    assert model_source("demo", roots) == "demo"
    assert model_source("one", roots) == str(roots[0] / "one" / "model")
    assert model_source("sd", roots) == str(roots[1] / "sd")
    assert model_source("one.safetensors", roots) == str(roots[1] / "one.safetensors")
    assert model_source("CompVis/stable-diffusion-v1-4", roots) == "CompVis/stable-diffusion-v1-4"
    with pytest.raises(InputError, match="is not a model"):
        model_source(str(roots[1]), roots)


@pytest.mark.parametrize("given", ["../../etc", "/etc/passwd", "a/b/c", "./a/b", "https://example.org/a", "a/../b", "<img src=x>/y"])
def test_what_only_looks_like_a_name_on_the_hub_is_refused(roots, given):
    with pytest.raises(InputError):
        model_source(given, roots)


def test_a_misspelt_embedded_model_is_answered_with_its_name(roots):
    with pytest.raises(InputError, match=r"^'dmeo' is not a model of this page, did you mean \"demo\"\?$"):
        model_source("dmeo", roots)


def test_strangers_open_only_the_hub_names_that_the_owner_named(roots):
    assert model_source("a/b", roots, hub=("a/b",), shared=True) == "a/b"
    with pytest.raises(InputError, match="not among the models of this page"):
        model_source("a/c", roots, hub=("a/b",), shared=True)


def test_an_uploaded_image_is_decoded_first(tmp_path):
    good, text, torn, huge = (tmp_path / name for name in ("good.png", "a.svg", "torn.png", "huge.png"))
    Image.new("RGB", (8, 8), "red").save(good)
    text.write_text("<svg onload=alert(1)>")
    torn.write_bytes(good.read_bytes()[:40])
    Image.new("1", (8000, 8000)).save(huge)
    assert uploaded(good).getpixel((0, 0)) == (255, 0, 0)
    for path, said in ((text, "is not an image"), (torn, "not a complete image"), (huge, "million pixels")):
        with pytest.raises(InputError, match=said):
            uploaded(path)


# --- the door ---------------------------------------------------------------------------------------------------------


def request(path: str, method: str = "GET", **headers: str) -> dict:
    given = {"host": "127.0.0.1:7860", "content-length": "2", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {"type": "http", "path": path, "method": method, "headers": [(k.encode(), v.encode()) for k, v in given.items()]}


@pytest.mark.parametrize(
    "path", ["/", "/config", "/assets/index-1.js", "/gradio_api/queue/data", "/gradio_api/heartbeat/abc", "/theme.css"]
)
def test_the_page_comes_through(path):
    assert refusal(request(path), local=True) is None


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/info", "/gradio_api/call/draw", "/gradio_api/run/predict", "/gradio_api/api/predict", "/gradio_api/openapi.json",
     "/gradio_api/proxy=http://example.org", "/gradio_api/file=http://169.254.169.254/", "/gradio_api/upload", "/gradio_api/vibe-edit",
     "/docs", "/monitoring", "/assets/../../x", "/gradio_api/run-history/records"],
)  # fmt: skip
def test_what_the_page_does_not_use_is_not_there(path):
    assert refusal(request(path, "POST"), local=True)[0] == 404


def test_uploads_only_where_the_page_has_a_control_for_them():
    upload = "/gradio_api/upload"
    assert refusal(request(upload, "POST"), local=True, uploads=True) is None
    assert refusal(request(upload, "POST", content_length=str(2 * 2**30)), local=True, uploads=True)[0] == 413
    assert refusal(request(upload, "POST", content_length=""), local=True, uploads=True)[0] == 413  # in chunks, without an end
    assert refusal(request("/gradio_api/queue/join", "POST", content_length=str(2 * 2**20)), local=True, uploads=True)[0] == 413


def test_foreign_names_and_foreign_sites_are_refused():
    assert refusal(request("/", host="evil.example"), local=True)[0] == 403  # a name that was made to point here
    assert refusal(request("/", host="my.server"), local=False) is None
    join = "/gradio_api/queue/join"
    assert refusal(request(join, "POST", origin="https://evil.example"), local=True)[0] == 403
    assert refusal(request(join, "POST", origin="http://127.0.0.1:7860"), local=True) is None


@pytest.mark.parametrize(
    ("host", "origin", "forwarded", "passes"),
    [
        ("127.0.0.1:7860", "http://demo.example.org", "demo.example.org", True),  # nginx with X-Forwarded-Host
        ("127.0.0.1:7860", "https://demo.example.org:8443", "demo.example.org:8443", True),
        ("127.0.0.1:7860", "http://demo.example.org", "demo.example.org, inner.proxy", True),
        ("127.0.0.1:7860", "http://demo.example.org", "", False),  # nginx with nothing but proxy_pass
        ("127.0.0.1:7860", "https://evil.example", "demo.example.org", False),
        ("127.0.0.1:7860", "null", "demo.example.org", False),
        ("127.0.0.1:7860", "null", "", False),
        ("127.0.0.1:7860", "http://[evil", "", False),
        ("[evil", "http://[evil", "[evil", False),
        ("demo.example.org", "http://demo.example.org", "demo.example.org", False),  # another host name: it may be made to point here
    ],
)
def test_behind_a_proxy_its_own_address_counts(host, origin, forwarded, passes):
    extra = {"x_forwarded_host": forwarded} if forwarded else {}
    press = request("/gradio_api/queue/join", "POST", host=host, origin=origin, **extra)
    assert (refusal(press, local=True) is None) == passes
    if host == "127.0.0.1:7860":
        assert (refusal(press, local=False) is None) == passes


def test_no_site_may_ask_for_the_header_of_a_proxy():
    """A browser sends X-Forwarded-Host to another site only after an OPTIONS request that allows it."""
    asked = {"access_control_request_method": "POST", "access_control_request_headers": "x-forwarded-host"}
    assert refusal(request("/gradio_api/queue/join", "OPTIONS", origin="https://evil.example", **asked), local=True)[0] == 403


def test_the_owner_is_told_once_what_a_proxy_lacks(capsys):
    async def gradio(scope, receive, send):
        raise AssertionError("not for gradio")

    async def send(message):
        pass

    door = RequestFilter(gradio, local=True)
    for _ in range(3):
        asyncio.run(door(request("/gradio_api/queue/join", "POST", origin="http://demo.example.org\x1b[2J"), None, send))
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "host '127.0.0.1:7860', origin 'http://demo.example.org\\x1b[2J'" in line
    assert "in nginx: proxy_set_header X-Forwarded-Host $http_host;" in line


def test_a_press_has_a_size():
    join = "/gradio_api/queue/join"
    assert refusal(request(join, "POST", content_length=str(BODY + 1)), local=True)[0] == 413
    assert refusal(request(join, "POST", content_length="many"), local=True)[0] == 413


def test_a_file_is_given_to_whoever_has_its_key_and_to_nobody_else():
    async def inner(scope, receive, send):
        raise AssertionError("not for gradio")

    def asked(path: str, query: bytes = b"") -> list[dict]:
        sent: list[dict] = []

        async def send(message):
            sent.append(message)

        files = lambda key, name, show: b"shown" if show else b"blurred" if key == "k" * 43 and name == "a.png" else None  # noqa: E731
        asyncio.run(RequestFilter(inner, local=True, files=files)({**request(path), "query_string": query}, None, send))
        return sent

    key = "k" * 43
    assert asked(f"/keep/{key}/a.png")[1]["body"] == b"blurred"
    assert asked(f"/keep/{key}/a.png", b"show=1")[1]["body"] == b"shown"
    assert asked(f"/keep/{key}/b.png")[0]["status"] == asked(f"/keep/{'x' * 43}/a.png")[0]["status"] == 404
    headers = dict(asked(f"/keep/{key}/a.png")[0]["headers"])
    assert headers[b"cache-control"] == b"private, no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_an_empty_password_is_none_at_all_and_not_no_password() -> None:
    with pytest.raises(InputError, match="names nobody"):
        read_auth("")
