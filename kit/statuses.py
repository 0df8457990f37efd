"""Errors as gRPC tells them: the status of each, and the one shape that all of them have."""

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from kit import errors

STATUS: dict[type[errors.Error], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}
"""From the error vocabulary to gRPC; a subclass has the status of its group."""
FAILURES = frozenset(
    {grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
)  # fmt: skip
"""What is no answer to a caller's mistake."""


def status_of(error: errors.Error) -> grpc.StatusCode:
    """Returns the gRPC status of an error's group."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), grpc.StatusCode.INTERNAL)


def status(error: errors.Error, code: grpc.StatusCode) -> status_pb2.Status:
    """Builds the one error shape (AIP-193): ErrorInfo always, BadRequest where fields are at fault."""
    message = error.message
    if error.violations:
        message = "; ".join(f"{name}: {what}" if name else what for name, what in error.violations[:5])
    told = status_pb2.Status(code=code.value[0], message=message)
    info = any_pb2.Any()
    info.Pack(error_details_pb2.ErrorInfo(reason=error.reason, domain="gozon"))
    told.details.append(info)
    if error.violations:
        bad_request = error_details_pb2.BadRequest()
        for name, what in error.violations[:50]:
            bad_request.field_violations.add(field=name, description=what)
        details = any_pb2.Any()
        details.Pack(bad_request)
        told.details.append(details)
    return told
