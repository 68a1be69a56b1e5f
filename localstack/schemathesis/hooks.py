"""What schemathesis does not know about Wadi."""

import random

import schemathesis

# What is there, as answers told: topics, and the newest epochs of members by group
# and id. What is made up names none of it, so that requests of groups would only
# see that there is nothing.
topics = set()
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
    if case.meta and case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        if case.operation.path.endswith("/members") and topics and choose.random() < 0.7:
            case.body["topics"] = [choose.choice(sorted(topics))]
        if "/members/{member}:" in case.operation.path:
            as_member(case)


def as_member(case):
    """Makes most requests of members those of one that joined, and their waits short."""
    if "max_wait_ms" in case.body:
        case.body["max_wait_ms"] = min(case.body["max_wait_ms"], 100)
    if epochs and choose.random() < 0.7:
        (group, member), case.body["epoch"] = choose.choice(sorted(epochs.items()))
        case.path_parameters.update(group=group, member=member)


@schemathesis.hook
def after_call(ctx, case, response):
    names = case.path_parameters or {}
    if case.operation.path == "/v1/topics/{topic}" and response.status_code in (200, 201):
        topics.add(response.json()["name"])
    if case.operation.path == "/v1/topics/{topic}" and response.status_code in (204, 404):
        topics.discard(names.get("topic"))
    if "/members" in case.operation.path and response.status_code in (200, 201, 409, 410):
        answer = response.json()
        of = (names.get("group"), answer.get("member_id") or names.get("member"))
        if response.status_code == 410:
            epochs.pop(of, None)
        elif "epoch" in answer:
            epochs[of] = answer["epoch"]
