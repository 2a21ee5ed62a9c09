"""SCRAM-SHA-256: the RFC's own example, every refusal with RethinkDB's number, and the bounded memory of exchanges."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.auth import AuthenticationFailed
from services.auth.credentials import Credentials
from services.auth.exchanges import LIFETIME_MS, Exchanges
from services.auth.scram import Exchange, begin, finish, prepare_name, read_client_first
from tests.auth.scram_client import client_final

CREDENTIALS = Credentials.of("pencil", 10)
FIRST = "n,,n=user,r=abc"
BARE = "n=user,r=abc"


def exchange(is_known: bool = True) -> Exchange:
    return begin(read_client_first(FIRST), is_known, CREDENTIALS, b"0123456789")


def code_of(error: pytest.ExceptionInfo[AuthenticationFailed]) -> tuple[int, str]:
    return error.value.code, error.value.message


def test_the_example_of_rfc_7677() -> None:
    credentials = Credentials.of("pencil", 4096, base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    first = read_client_first("n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    server_first = f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    begun = Exchange(first.user, True, credentials, first.bare, nonce, server_first)
    final = f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert finish(begun, final) == "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_first_messages() -> None:
    first = read_client_first(FIRST)
    assert (first.user, first.nonce, first.bare) == ("user", "abc", BARE)
    begun = exchange()
    salt = base64.b64encode(CREDENTIALS.salt).decode()
    assert begun.server_first == f"r=abc{base64.b64encode(b'0123456789').decode()},s={salt},i=10"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_password_opens_what_it_locked(password: str) -> None:
    begun = replace(exchange(), credentials=Credentials.of(password, 1, CREDENTIALS.salt))
    begun = replace(begun, server_first=begun.server_first.replace("i=10", "i=1"))
    final, expected = client_final(BARE, begun.server_first, password)
    assert finish(begun, final) == expected
    with pytest.raises(AuthenticationFailed):
        finish(begun, client_final(BARE, begun.server_first, password + "x")[0])


def test_an_authorization_identity_is_passed_over() -> None:
    assert read_client_first("n,a=other,n=user,r=abc").bare == BARE


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        ("y,,n=user,r=abc", 15, "Channel binding is not supported"),
        ("p=tls-unique,,n=user,r=abc", 15, "Channel binding is not supported"),
        ("", 15, "Channel binding is not supported"),
        ("n,", 10, "Invalid encoding"),
        ("n,,", 10, "Invalid encoding"),
        ("n,,n=user", 10, "Invalid encoding"),
        ("n,,r=abc", 10, "Invalid encoding"),
        ("n,,n=user,n=user,r=abc", 10, "Invalid encoding"),
        ("n,,nn=user,r=abc", 10, "Invalid encoding"),
        ("n,,n,r=abc", 10, "Invalid encoding"),
        ("n,,n=user,r=abc,x=1", 10, "Invalid encoding"),
        ("n,,m=ext,n=user,r=abc", 11, "Extensions not supported"),
        ("n,,n=us=er,r=abc", 18, "Invalid username encoding"),
        ("n,,n=user=2,r=abc", 18, "Invalid username encoding"),
        ("n,,n=us\x07er,r=abc", 18, "Invalid username encoding"),
        ("n,,n=,r=abc", 18, "Empty username"),
    ],
)
def test_refusals_of_the_first_message(message: str, code: int, text: str) -> None:
    with pytest.raises(AuthenticationFailed) as error:
        read_client_first(message)
    assert code_of(error) == (code, text)


def test_names_are_unescaped() -> None:
    assert read_client_first("n,,n=a=2Cb=3D2C,r=x").user == "a,b=2C"


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda final: final.replace("c=biws", "c=eSws"), 10, "Invalid encoding"),
        (lambda final: final.split(",p=")[0], 10, "Invalid encoding"),
        (lambda final: final + ",x=1", 10, "Invalid encoding"),
        (lambda final: final + ",p=again", 10, "Invalid encoding"),
        (lambda final: "", 10, "Invalid encoding"),
        (lambda final: final + ",m=ext", 11, "Extensions not supported"),
        (lambda final: final.split(",p=")[0] + ",p=!", 12, "Wrong password"),
        (lambda final: final.split(",p=")[0] + ",p=", 12, "Wrong password"),
        (lambda final: final.split(",p=")[0] + ",p=AAAA", 12, "Wrong password"),
        (lambda final: final.replace("r=abc", "r=abd"), 12, "Wrong password"),
    ],
)
def test_refusals_of_the_final_message(change, code: int, text: str) -> None:  # type: ignore[no-untyped-def]
    begun = exchange()
    final, _ = client_final(BARE, begun.server_first, "pencil")
    with pytest.raises(AuthenticationFailed) as error:
        finish(begun, change(final))
    assert code_of(error) == (code, text)


def test_a_wrong_password() -> None:
    begun = exchange()
    with pytest.raises(AuthenticationFailed) as error:
        finish(begun, client_final(BARE, begun.server_first, "pen")[0])
    assert code_of(error) == (12, "Wrong password")


def test_a_right_proof_for_another_nonce() -> None:
    begun = exchange()
    with pytest.raises(AuthenticationFailed) as error:
        finish(begun, client_final(BARE, begun.server_first, "pencil", nonce="other")[0])
    assert code_of(error) == (20, "Other error")


def test_an_unknown_user_is_found_out_where_a_wrong_password_is() -> None:
    begun = exchange(is_known=False)
    with pytest.raises(AuthenticationFailed) as error:
        finish(begun, client_final(BARE, begun.server_first, "pencil")[0])
    assert code_of(error) == (17, "Unknown user")
    for is_known in (True, False):
        with pytest.raises(AuthenticationFailed) as error:
            finish(exchange(is_known=is_known), "nonsense")
        assert code_of(error) == (10, "Invalid encoding")


def test_the_challenge_for_an_unknown_user_is_always_the_same_and_like_that_of_others() -> None:
    one, two, other = (Credentials.of_unknown_user(name, b"secret") for name in ("ghost", "ghost", "gast"))
    assert one.salt == two.salt != other.salt
    known = Credentials.of("x", 4096)
    assert (len(one.salt), one.iterations) == (len(known.salt), known.iterations)
    assert Credentials.of_unknown_user("ghost", b"another secret").salt != one.salt
    assert not one.matches_password("")


def test_credentials_hold_no_password() -> None:
    first, second = Credentials.of("pencil", 10), Credentials.of("pencil", 10)
    assert first.salt != second.salt
    assert first.stored_key != second.stored_key
    assert first.matches_password("pencil")
    assert not first.matches_password("pencil ")
    assert (Credentials.of("", 10).is_empty, first.is_empty) == (True, False)


@pytest.mark.parametrize(
    ("name", "prepared"),
    [
        ("bob", "bob"),
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u00aa", "a"),
        ("\u05d0\u05d1", "\u05d0\u05d1"),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_names_have_one_spelling(name: str, prepared: str) -> None:
    assert prepare_name(name) == prepared
    assert prepare_name(prepared) == prepared


@pytest.mark.parametrize("name", ["a\x00", "\x7f", "\ue000", "\u202eadmin", "\u05d0a", "\u05d01", "\ud800", "\u00ad"])
def test_names_that_nobody_can_have(name: str) -> None:
    with pytest.raises(AuthenticationFailed) as error:
        prepare_name(name)
    assert error.value.code == 18


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_an_exchange_is_good_for_one_try() -> None:
    exchanges = Exchanges()
    begun = exchange()
    name = exchanges.remember(begun)
    assert exchanges.take("another") is None
    assert exchanges.take(name) is begun
    assert exchanges.take(name) is None


def test_exchanges_are_forgotten_in_time() -> None:
    clock = Clock()
    exchanges = Exchanges(clock)
    begun = exchange()
    early = exchanges.remember(begun)
    clock.seconds += LIFETIME_MS / 1000 - 1
    late = exchanges.remember(begun)
    clock.seconds += 1
    assert exchanges.take(early) is None
    assert exchanges.take(late) is begun
    assert len(exchanges) == 0


def test_a_flood_of_exchanges_pushes_out_the_oldest() -> None:
    exchanges = Exchanges(max_exchanges=3)
    begun = exchange()
    names = [exchanges.remember(begun) for _ in range(5)]
    assert len(exchanges) == 3
    assert [exchanges.take(name) is begun for name in names] == [False, False, True, True, True]
