"""The RPCs of Users."""

import hmac
from urllib.parse import parse_qs

from google.api.httpbody_pb2 import HttpBody

from gozon.users.v1.users_pb2 import (
    DESCRIPTOR,
    ChangePasswordRequest,
    ChangePasswordResponse,
    GetJwksRequest,
    GetMeRequest,
    Jwk,
    Jwks,
    RegisterRequest,
    RevokeTokenRequest,
    RevokeTokenResponse,
    TokenRequest,
    TokenResponse,
    UpdateMeRequest,
    User,
)
from kit import access
from kit.errors import Error, InvalidArgument, StaleEtag
from kit.rpc import Call
from kit.validation import validator_of
from services.users import domain
from services.users.domain import (
    WORKER,
    WORKER_ID,
    InvalidClient,
    InvalidCredentials,
    InvalidRefreshToken,
    UnsupportedGrantType,
)
from services.users.service import UserService
from services.users.tokens import TokenIssuer

RULES = {
    "Register": access.PUBLIC,
    "Token": access.PUBLIC,
    "RevokeToken": access.PUBLIC,
    "GetJwks": access.PUBLIC,
    "GetMe": access.OWN,
    "UpdateMe": access.OWN,
    "ChangePassword": access.OWN,
}
MAX_FORM_BYTES = 4096
TOKEN_FIELDS = ("grant_type", "username", "password", "refresh_token", "client_id", "client_secret")
OAUTH_ERRORS: dict[type[Error], str] = {
    InvalidCredentials: "invalid_grant",
    InvalidRefreshToken: "invalid_grant",
    InvalidClient: "invalid_client",
    UnsupportedGrantType: "unsupported_grant_type",
    InvalidArgument: "invalid_request",
}
"""RFC 6749 section 5.2; the edge puts it into the answer."""


class UsersApi:
    """gozon.users.v1.UsersService."""

    def __init__(self, service: UserService, issuer: TokenIssuer, worker_secret: str = "") -> None:
        """`worker_secret` is what workers are known by; empty: there are none."""
        self._service = service
        self._issuer = issuer
        self._worker_secret = worker_secret.encode()

    async def register(self, request: RegisterRequest, call: Call) -> User:
        user = await self._service.register(request.email, request.password, request.username)
        call.created("/users/me")
        return self._own(user, call)

    async def token(self, request: TokenRequest, call: Call) -> TokenResponse:
        try:
            return await self._token(request)
        except tuple(OAUTH_ERRORS) as error:
            error.headers["x-oauth-error"] = OAUTH_ERRORS.get(type(error), "invalid_request")
            raise

    async def _token(self, request: TokenRequest) -> TokenResponse:
        if request.HasField("form"):
            request = TokenRequest(**_form(request.form, *TOKEN_FIELDS))
            _validate_token(request, request.SerializeToString())
        match request.grant_type:
            case "password" if request.username and request.password:
                signed_in = await self._service.sign_in(request.username, request.password)
            case "password":
                raise InvalidArgument("Send username (the email) and password.")
            case "refresh_token" if request.refresh_token:
                signed_in = await self._service.refresh(request.refresh_token)
            case "refresh_token":
                raise InvalidArgument("Send the refresh_token.")
            case "client_credentials" if request.client_id and request.client_secret:
                return self._worker_token(request)
            case "client_credentials":
                raise InvalidArgument("Send client_id and client_secret.")
            case "":
                raise InvalidArgument('Send a grant_type: "password", "refresh_token" or "client_credentials".')
            case _:
                raise UnsupportedGrantType
        return TokenResponse(
            access_token=self._issuer.issue(signed_in.user.id, signed_in.user.roles),
            token_type="Bearer",  # noqa: S106 - the type, not a secret
            expires_in=self._issuer.lifetime,
            refresh_token=signed_in.refresh_token,
        )

    def _worker_token(self, request: TokenRequest) -> TokenResponse:
        known = bool(self._worker_secret) and request.client_id == WORKER
        if not hmac.compare_digest(request.client_secret.encode(), self._worker_secret) or not known:
            raise InvalidClient
        return TokenResponse(
            access_token=self._issuer.issue(WORKER_ID, (WORKER,)),
            token_type="Bearer",  # noqa: S106 - the type, not a secret
            expires_in=self._issuer.lifetime,
        )

    async def revoke_token(self, request: RevokeTokenRequest, call: Call) -> RevokeTokenResponse:
        try:
            if request.HasField("form"):
                request = RevokeTokenRequest(**_form(request.form, "token"))
                _validate_revocation(request, request.SerializeToString())
            if not request.token:
                raise InvalidArgument("Send the refresh token as token.")
        except InvalidArgument as error:
            error.headers["x-oauth-error"] = OAUTH_ERRORS[InvalidArgument]
            raise
        await self._service.revoke(request.token)
        return RevokeTokenResponse()

    async def get_jwks(self, request: GetJwksRequest, call: Call) -> Jwks:
        return Jwks(keys=[Jwk(**jwk) for jwk in self._issuer.jwks()])

    async def get_me(self, request: GetMeRequest, call: Call) -> User:
        return self._own(await self._service.get(call.caller.user_id), call)

    async def update_me(self, request: UpdateMeRequest, call: Call) -> User:
        version = _version(request.etag or call.if_match)
        if not request.HasField("username"):
            user = await self._service.get(call.caller.user_id)
            if version not in (None, user.version):
                raise StaleEtag
            return self._own(user, call)
        return self._own(await self._service.rename(call.caller.user_id, request.username, version), call)

    async def change_password(self, request: ChangePasswordRequest, call: Call) -> ChangePasswordResponse:
        await self._service.change_password(call.caller.user_id, request.current_password, request.new_password)
        call.no_content()
        return ChangePasswordResponse()

    def _own(self, user: domain.User, call: Call) -> User:
        message = _user(user)
        call.etag(message.etag)
        return message


_validate_token = validator_of(DESCRIPTOR.message_types_by_name["TokenRequest"])
_validate_revocation = validator_of(DESCRIPTOR.message_types_by_name["RevokeTokenRequest"])


def _form(form: HttpBody, *names: str) -> dict[str, str]:
    """Returns the named fields of a form, empty where they are missing. Errors: InvalidArgument."""
    if form.content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidArgument("Send the request as application/x-www-form-urlencoded.")
    if len(form.data) > MAX_FORM_BYTES:
        raise InvalidArgument(f"The form may have {MAX_FORM_BYTES} bytes.")
    try:
        sent = parse_qs(form.data.decode(), keep_blank_values=True, strict_parsing=bool(form.data), errors="strict")
    except ValueError:
        raise InvalidArgument("The form is malformed.") from None
    if any(len(sent.get(name, ())) > 1 for name in names):
        raise InvalidArgument("A parameter is given more than once (RFC 6749 section 3.2).")
    return {name: sent.get(name, [""])[0] for name in names}


def _version(etag: str) -> int | None:
    """Returns the version that an etag stands for, None when there is none. Errors: StaleEtag for what is no etag."""
    if not etag:
        return None
    if not (etag.isascii() and etag.isdecimal() and len(etag) < 19):
        raise StaleEtag
    return int(etag)


def _user(user: domain.User) -> User:
    message = User(id=user.id, email=user.email, username=user.username, roles=user.roles, etag=str(user.version))
    message.created_at.FromDatetime(user.created_at)
    return message
