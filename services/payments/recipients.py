"""Who is paid: whether there can be such a card, bank account or phone, and how much of it may be seen."""

import re

from gozon.payouts.v1.payouts_pb2 import BankAccount, Card, Phone, Recipient
from kit.errors import InvalidArgument
from services.payments.payouts import InvalidCard, InvalidIban, InvalidPhone, RecipientMismatch

SHOWN = 4
"""Characters of a number that are not masked: its last ones."""
_DETAILS = {Recipient.CARD: "card", Recipient.BANK_ACCOUNT: "bank_account", Recipient.PHONE: "phone"}
_CARD = re.compile(r"[1-9][0-9]{11,18}")
_IBAN = re.compile(r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30}")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
# Digits of any script, with up to two of whatever else is written between them.
_LONG_NUMBER = re.compile(r"\d(?:[\W_]{0,2}\d){6,}")


def checked(recipient: Recipient) -> Recipient:
    """Returns a recipient with its number as it is stored, without spaces.

    Errors, which never repeat what was sent: RecipientMismatch, InvalidCard, InvalidIban, InvalidPhone, and
    InvalidArgument for a holder_name of nothing but spaces.
    """
    wanted = _DETAILS[recipient.type]
    for name in _DETAILS.values():
        if recipient.HasField(name) != (name == wanted):
            what = "must be set" if name == wanted else "must not be set"
            kind = Recipient.Type.Name(recipient.type)
            raise RecipientMismatch(violations=((f"recipient.{name}", f"{what} for a recipient of type {kind}"),))
    match recipient.type:
        case Recipient.CARD:
            return Recipient(type=Recipient.CARD, card=Card(number=_card(recipient.card.number)))
        case Recipient.BANK_ACCOUNT:
            iban, holder = _iban(recipient.bank_account.iban), recipient.bank_account.holder_name.strip()
            if not holder:
                raise InvalidArgument(violations=(("recipient.bank_account.holder_name", "must not be blank"),))
            return Recipient(type=Recipient.BANK_ACCOUNT, bank_account=BankAccount(iban=iban, holder_name=holder))
        case _:
            return Recipient(type=Recipient.PHONE, phone=Phone(number=_phone(recipient.phone.number)))


def masked(recipient: Recipient) -> Recipient:
    """Returns what may be seen of a checked recipient: the last 4 characters of a number, the initials of a name."""
    shown = Recipient(type=recipient.type)
    match recipient.type:
        case Recipient.CARD:
            shown.card.number = _mask(recipient.card.number)
        case Recipient.BANK_ACCOUNT:
            shown.bank_account.iban = _mask(recipient.bank_account.iban)
            words = recipient.bank_account.holder_name.split()
            shown.bank_account.holder_name = " ".join(word[0] + "*" * (len(word) - 1) for word in words)
        case _:
            shown.phone.number = _mask(recipient.phone.number)
    return shown


def without_numbers(text: str) -> str:
    """Masks what could be the number of a card, an account or a phone in somebody else's words."""
    return _LONG_NUMBER.sub(lambda found: _mask(found[0]), text)


def _mask(number: str) -> str:
    return "*" * (len(number) - SHOWN) + number[-SHOWN:]


def _card(number: str) -> str:
    digits = number.replace(" ", "")
    if not _CARD.fullmatch(digits) or _luhn(digits):
        raise InvalidCard(violations=(("recipient.card.number", "is not the number of a card: check its digits"),))
    return digits


def _luhn(digits: str) -> int:
    """Returns 0 when the last digit fits the others (ISO/IEC 7812-1)."""
    odd, even = digits[::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10


def _iban(iban: str) -> str:
    compact = iban.replace(" ", "")
    # Check digits are computed as 98 less a remainder: 00, 01 and 99 would fit, but never are.
    if not _IBAN.fullmatch(compact) or not 2 <= int(compact[2:4]) <= 98 or _remainder(compact) != 1:
        raise InvalidIban(violations=(("recipient.bank_account.iban", "is not an IBAN: check its characters"),))
    return compact.upper()


def _remainder(iban: str) -> int:
    """Returns 1 when the check digits fit the rest (ISO 7064, MOD 97-10)."""
    return int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4])) % 97


def _phone(number: str) -> str:
    if not _PHONE.fullmatch(number):
        violation = (
            "recipient.phone.number",
            "is not a phone number in E.164: a plus sign and 7 to 15 digits, no spaces",
        )
        raise InvalidPhone(violations=(violation,))
    return number
