"""The RPCs of Users."""

from urllib.parse import parse_qs

from gozon.users.v1.users_pb2 import (
    GetJwksRequest,
    GetMeRequest,
    Jwk,
    Jwks,
    RegisterRequest,
    TokenRequest,
    TokenResponse,
    User,
)
from kit.errors import InvalidArgument
from kit.rpc import Call
from services.users import domain
from services.users.domain import UnsupportedGrantType
from services.users.service import UserService
from services.users.tokens import TokenIssuer

WITHOUT_TOKEN = frozenset({"Register", "Token", "GetJwks"})


class UsersApi:
    """gozon.users.v1.UsersService."""

    def __init__(self, service: UserService, issuer: TokenIssuer) -> None:
        self._service = service
        self._issuer = issuer

    async def register(self, request: RegisterRequest, call: Call) -> User:
        user = await self._service.register(request.email, request.password, request.username)
        call.created("/users/me")
        return _user(user)

    async def token(self, request: TokenRequest, call: Call) -> TokenResponse:
        grant_type, username, password = _credentials(request)
        if grant_type != "password":
            raise UnsupportedGrantType
        user = await self._service.authenticate(username, password)
        return TokenResponse(
            access_token=self._issuer.issue(user.id, user.roles),
            token_type="Bearer",  # noqa: S106 - the type, not a secret
            expires_in=self._issuer.lifetime,
        )

    async def get_jwks(self, request: GetJwksRequest, call: Call) -> Jwks:
        return Jwks(keys=[Jwk(**self._issuer.jwk)])

    async def get_me(self, request: GetMeRequest, call: Call) -> User:
        return _user(await self._service.get(call.caller.user_id))


def _credentials(request: TokenRequest) -> tuple[str, str, str]:
    """Returns grant type, user name and password. Errors: InvalidArgument for a form that is not one."""
    if not request.HasField("form"):
        return request.grant_type, request.username, request.password
    if request.form.content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidArgument("Send the request as application/x-www-form-urlencoded.")
    try:
        form = parse_qs(request.form.data.decode(), keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        raise InvalidArgument("The form is malformed.") from None
    if any(len(values) > 1 for values in form.values()):
        raise InvalidArgument("A parameter is given more than once (RFC 6749 section 3.2).")
    values = [form.get(name, [""])[0] for name in ("grant_type", "username", "password")]
    if "\0" in "".join(values):
        raise InvalidArgument("The form contains a NUL character.")
    return values[0], values[1], values[2]


def _user(user: domain.User) -> User:
    message = User(id=user.id, email=user.email, username=user.username, roles=user.roles)
    message.created_at.FromDatetime(user.created_at)
    return message
