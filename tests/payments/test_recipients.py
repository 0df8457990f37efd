"""services.payments.recipients: numbers that can't be are refused without being repeated, the others are masked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gozon.payouts.v1.payouts_pb2 import BankAccount, Card, Phone, Recipient
from kit.errors import Error, InvalidArgument
from services.payments.payouts import InvalidCard, InvalidIban, InvalidPhone, RecipientMismatch
from services.payments.recipients import checked, masked, without_numbers


def card(number: str) -> Recipient:
    return Recipient(type=Recipient.CARD, card=Card(number=number))


def bank_account(iban: str, holder_name: str = "Ann Lee") -> Recipient:
    return Recipient(type=Recipient.BANK_ACCOUNT, bank_account=BankAccount(iban=iban, holder_name=holder_name))


def phone(number: str) -> Recipient:
    return Recipient(type=Recipient.PHONE, phone=Phone(number=number))


@pytest.mark.parametrize(
    ("given", "stored", "shown"),
    [
        (card("4242 4242 4242 4242"), card("4242424242424242"), card("************4242")),
        (card("378282246310005"), card("378282246310005"), card("***********0005")),
        (card("6304000000000000"), card("6304000000000000"), card("************0000")),
        (
            bank_account("GB82 WEST 1234 5698 7654 32", " Ann  Lee "),
            bank_account("GB82WEST12345698765432", "Ann  Lee"),
            bank_account("******************5432", "A** L**"),
        ),
        (
            bank_account("de89370400440532013000"),
            bank_account("DE89370400440532013000"),
            bank_account("******************3000", "A** L**"),
        ),
        (bank_account("NO9386011117947"), bank_account("NO9386011117947"), bank_account("***********7947", "A** L**")),
        (phone("+79161234567"), phone("+79161234567"), phone("********4567")),
        (phone("+2901234"), phone("+2901234"), phone("****1234")),
    ],
)
def test_a_number_loses_its_spaces_and_shows_its_last_four(
    given: Recipient, stored: Recipient, shown: Recipient
) -> None:
    assert checked(given) == stored
    assert masked(stored) == shown


@pytest.mark.parametrize(
    ("recipient", "refusal", "number"),
    [
        *(
            (card(number), InvalidCard, number)
            for number in (
                "4242424242424241",
                "4242-4242-4242-4242",
                "42424242424",
                "42424242424242424242",
                "0000000000000000",
                "\uff14242424242424242",
                "4242424242424242\n",
                "424242424242424x",
                " " * 16,
            )
        ),
        *(
            (bank_account(iban), InvalidIban, iban)
            for iban in (
                "GB82WEST12345698765433",
                "GB28WEST12345698765432",
                "GB82-WEST-1234-5698-7654-32",
                "8282WEST12345698765432",
                "GB82WEST1234569876543ß",
                "XX00000000000000" + "0" * 20,
                "DE89",
            )
        ),
        *(
            (phone(number), InvalidPhone, number)
            for number in (
                "79161234567",
                "+0916123456",
                "+7916123456789012",
                "+7916",
                "+7 916 123 45 67",
                "+7916123456x",
            )
        ),
    ],
)
def test_what_can_not_be_is_refused_and_not_repeated(recipient: Recipient, refusal: type[Error], number: str) -> None:
    with pytest.raises(refusal) as caught:
        checked(recipient)
    told = f"{caught.value.message} {caught.value.violations}"
    assert number.strip() == "" or number not in told
    assert caught.value.violations[0][0].startswith("recipient.")


def test_check_digits_that_are_never_computed_are_refused() -> None:
    # 98 less a remainder of 97 is never 01, though as a sum it would fit as well as 98.
    account = next(f"{n:011}" for n in range(100) if _fits(f"NO98{n:011}"))
    assert not _fits(f"NO01{account}")


def _fits(iban: str) -> bool:
    try:
        checked(bank_account(iban))
    except InvalidIban:
        return False
    return True


def test_the_details_are_those_of_the_type_and_no_others() -> None:
    both = card("4242424242424242")
    both.phone.number = "+79161234567"
    for recipient in (both, Recipient(type=Recipient.CARD), Recipient(type=Recipient.PHONE, card=both.card)):
        with pytest.raises(RecipientMismatch) as caught:
            checked(recipient)
        assert "4242" not in str(caught.value.violations)
    with pytest.raises(InvalidArgument):
        checked(bank_account("GB82WEST12345698765432", "  "))


@given(st.text(alphabet="0123456789", min_size=11, max_size=18), st.data())
def test_of_the_ten_check_digits_one_fits_and_no_digit_can_be_another(digits: str, data: st.DataObject) -> None:
    def fits(number: str) -> bool:
        try:
            checked(card(number))
        except InvalidCard:
            return False
        return True

    digits = "4" + digits[1:]
    [right] = [digits + str(last) for last in range(10) if fits(digits + str(last))]
    position = data.draw(st.integers(1, len(right) - 1))
    other = data.draw(st.sampled_from([digit for digit in "0123456789" if digit != right[position]]))
    assert not fits(right[:position] + other + right[position + 1 :])


def test_numbers_in_the_words_of_others_are_masked() -> None:
    assert (
        without_numbers("card 4242 4242-4242 4242 declined (code 51)") == "card ***************4242 declined (code 51)"
    )
    for between in (".", "/", "_", "  ", ", ", "\N{EN DASH}", "\N{NO-BREAK SPACE}"):
        assert without_numbers(between.join(["4242"] * 4)) == "*" * (12 + 3 * len(between)) + "4242"
    assert without_numbers("\N{FULLWIDTH DIGIT FOUR}" * 16) == "*" * 12 + "\N{FULLWIDTH DIGIT FOUR}" * 4
    assert without_numbers("no +79161234567!") == "no +*******4567!"
    assert without_numbers("limit 100000 of 2026") == "limit 100000 of 2026"
