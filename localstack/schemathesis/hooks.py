"""What schemathesis does not know about Wadi."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # What it takes over from an earlier answer may be a number.
    if case.headers:
        for name, value in list(case.headers.items()):
            case.headers[name] = value if isinstance(value, (str, bytes)) else str(value)
