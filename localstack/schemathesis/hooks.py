"""What schemathesis does not know about Wadi."""

import random

import schemathesis

# The members that joined, by their resource: the newest epoch that an answer named.
# What is made up names none of them, so requests would only see that there is none.
epochs = {}
choose = random.Random(1)


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.hook
def before_call(ctx, case, kwargs):
    # What it takes over from an earlier answer may be a number.
    if case.headers:
        for name, value in list(case.headers.items()):
            case.headers[name] = value if isinstance(value, (str, bytes)) else str(value)
    if "/members/{member}:" in case.operation.path and isinstance(case.body, dict):
        as_member(case)


def as_member(case):
    """Makes most requests of members those of one that joined, and their waits short."""
    if isinstance(case.body.get("max_wait_ms"), int):
        case.body["max_wait_ms"] = min(case.body["max_wait_ms"], 100)
    if epochs and choose.random() < 0.7:
        (group, member), epoch = choose.choice(list(epochs.items()))
        case.path_parameters.update(group=group, member=member)
        if isinstance(case.body.get("epoch"), int):
            case.body["epoch"] = epoch


@schemathesis.hook
def after_call(ctx, case, response):
    if "/members" not in case.operation.path or response.status_code not in (200, 201, 409, 410):
        return
    answer = response.json()
    group = (case.path_parameters or {}).get("group")
    member = answer.get("member_id") or (case.path_parameters or {}).get("member")
    if response.status_code == 410:
        epochs.pop((group, member), None)
    elif "epoch" in answer:
        epochs[group, member] = answer["epoch"]
