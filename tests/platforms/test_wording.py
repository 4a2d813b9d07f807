"""What a refusal is about by its words alone: tables of texts, with what each must and must not be taken for."""

import json

import pytest

from edged.outcome import Outcome, Parked, Permanent, Transient
from edged.platforms import Item
from edged.platforms._http import verdict
from edged.platforms._wording import blames_identifiers, says_throttled
from edged.platforms.http import Named
from edged.reading import Entry, Value
from edged.transports.http import Reply

TEMPERATURE = "greenhouse.temperature"


def item(name: str = TEMPERATURE, value: Value = 21.5, series: str = TEMPERATURE) -> Item:
    return Item(Entry(1, series, 1_795_565_340_000, value), Named(name=name))


def fate(text: str, *items: Item) -> type[Outcome]:
    """What becomes of a reading that is refused with the text, the same whether it comes plain or in JSON."""
    bodies = [text.encode()]
    if not text.startswith(("{", "[")):
        bodies += [json.dumps({key: text}).encode() for key in ("message", "error", "detail")]
        bodies.append(json.dumps({"status": 400, "errors": [{"detail": text}]}, indent=2).encode())
    fates = set()
    for body in bodies:
        outcomes = verdict(Reply(400, body), items or [item()], refuses_in_json=False)
        assert outcomes is not None
        fates.add(type(outcomes[0]))
    (one,) = fates
    return one


IDENTIFIERS = """\
unknown deviceId 123
Invalid device_id
Invalid device id
deviceId not found
device_id is invalid
deviceId: 0abc is unknown
Device be525e29-4398-4fc1-a928-dead7fdfe218 does not exist
Unknown sensor id
Invalid device identifier.
No device with this id
no node with this id
jwt malformed
jwt expired
Access token is malformed
The access token expired
Token expired 5 minutes ago
The security token included in the request is invalid.
Invalid JSON Web Token
invalid signature
Bad signature
HMAC mismatch
SignatureDoesNotMatch
Incorrect index
Data channel is missing
Invalid channel
Invalid System ID
Station id not valid
station not found
stream not found
Stream foo under account 123 not found.
topic not found
dataset not found
Namespace does not exist
Unknown gateway
serial number not found
The token field is required.
The device id field is required.
The selected device is invalid.
org not found
Please provide either orgID or org
retention policy not found: foo
database is required
Requested resource not found
UnrecognizedClientException
ExpiredTokenException
InvalidSignatureException
ResourceNotFoundException
ErrorCode:InvalidDeviceId
InvalidAccessKeyId
AccessDeniedException
Authorization Denied
Missing Authorization header
invalid_client
invalid_grant
Wrong secret
Invalid client secret
Invalid API-Key
INVALID_API_KEY
Valid apikey required
apiKey is required
no API key provided
write key missing
Not authorised
Login required
Please log in
You must be logged in
session expired
Subscription expired
Your account has been suspended
Your plan does not allow this
IP address not allowed
You are not allowed to publish to this device
no write permission for bucket telemetry
user lacks the rights
Could not find device
Couldn't find device 12
unable to find bucket
invalid username or password
Device does not belong to account
Device is locked
The token does not have permission to write values
Cannot write values: invalid token
Cannot write values: token invalid
value rejected, token has expired
device is unknown, so is its value
{"errors":{"device":["This field is required."]}}
{"errors":{"device":["Object with id=12 does not exist."]}}
{"device":["Invalid pk \\"12\\" - object does not exist."]}
{"text":"Incorrect index","code":7}
{"title":"refused:\\ninvalid token"}
{"title":"\\u0027device\\u0027 not found"}
{"__type":"ExpiredTokenException"}
{"error":"invalid_token","error_description":"The access token expired"}
"""
THROTTLED = """\
Rate exceeded
TooManyRequests
TooManyRequestsException
ThrottlingException
ProvisionedThroughputExceededException
LimitExceededException
Exceeded 60 requests per hour
maximum requests per minute exceeded
only 10 updates per minute
daily limit reached
Your monthly limit has been reached
monthly quota reached
data rate limit reached
You are sending too fast
Messages too frequently
Slow down
SlowDown
server busy
the server is too busy
Service temporarily unavailable
service unavailable
Too many data points, please wait
Minimum interval between updates is 15 s
flood control
engine: cache-max-memory-size exceeded: (1074767264/1073741824)
{"__type":"ThrottlingException","message":"Rate exceeded"}
"""
READINGS = """\
Device 5 sent invalid number
sensor value for device 12 is not valid
value of device 12 invalid
device reported bad reading
invalid device temperature 900
Bad user data: NaN
Invalid token at line 1 column 5
invalid token in JSON
Unexpected token N in JSON at position 12
missing device timestamp
missing device reading
missing required value for channel
no value for device
Unknown user field
device temperature: value is invalid
feed value is invalid
Feed data value is missing
measurement rejected for user 5: reading is invalid
Project rules: measurement is not valid
database constraint: value not valid
Database error: wrong type
users: invalid number
Account 55: invalid number
Client error: invalid input
Invalid user input
The value field is required.
Unprocessable Entity: invalid
device clock is wrong
Device 12 has a bad clock
reading for device x was rejected: out of range
Reading rejected for device 5: invalid value
temperature of station 7 is invalid
Value 900 is not valid for channel 3
timestamp of device is in the future
the value for this device is not a number
NaN is not allowed
string not allowed
unknown unit for device
unknown measurement
the reading has an unknown type
the value does not match the unit
value exceeds the limit of 100
value changes too fast
more than 60 points per minute average
partial write: field type conflict: input field "value" on measurement "cpu" is type string, already exists as float
partial write: points beyond retention policy dropped=1
{"value":["This field is required."]}
{"device":"0abc","value":"is not valid"}
{"device":"0abc","error":"unknown timestamp"}
"""


@pytest.mark.statement(8)
@pytest.mark.parametrize("text", IDENTIFIERS.splitlines())
def test_credentials_and_identifiers_wait_for_a_person(text):
    assert fate(text) is Parked


@pytest.mark.pain("G8")
@pytest.mark.parametrize("text", THROTTLED.splitlines())
def test_throttling_waits(text):
    assert fate(text) is Transient


@pytest.mark.parametrize("text", READINGS.splitlines())
def test_a_complaint_about_a_reading_buries_that_alone(text):
    assert fate(text) is Permanent


@pytest.mark.parametrize(
    ("text", "ours", "expected"),
    [
        ("CHANNEL_1: not valid", item("CHANNEL_1"), Permanent),
        ('{"CHANNEL_1":["invalid"]}', item("CHANNEL_1"), Permanent),
        ("station_1.level is not valid", item(series="station_1.level"), Permanent),
        ("STATION_1_LEVEL is not valid", item(series="station_1.level"), Permanent),
        ("invalid device humidity", item(series="a.humidity"), Permanent),
        ("'device not found' is not a number", item(value="device not found"), Permanent),
        ("too many requests is not a number", item(value="too many requests"), Permanent),
        ("Device CHANNEL_1 not found", item("CHANNEL_1"), Parked),
        ("Device not found", item(value="device"), Parked),
        ("unknown device", item("device"), Parked),
        ("unknown device token", item(series="device.token"), Parked),
        ("unknown device", item(series="device.unknown"), Parked),
        ("unknown device", item(series="a.device"), Parked),
        ("rate limit exceeded", item("rate"), Transient),
    ],
)
def test_a_name_of_ours_is_no_word_of_the_servers_and_hides_none(text, ours, expected):
    assert fate(text, ours) is expected


def test_what_stands_far_behind_is_not_looked_at():
    assert fate("no" + " more" * 2000 + " invalid token") is Permanent


_MUCH = 64 * 1024
HOSTILE = [
    "token" + "-" * _MUCH,
    "Device " + "-" * _MUCH + "\nValue: refused\n",
    "token -" * (_MUCH // 7),
    "device a-_-" * (_MUCH // 11),
    "device " + "a_- " * (_MUCH // 4),
    "device" + " a" * (_MUCH // 2),
    "device of the " * (_MUCH // 14),
    "invalid valid x is not " * (_MUCH // 23),
    '"device":[' * (_MUCH // 10),
    "exceeded limit of requests reached " * (_MUCH // 35),
    ",\n\n\n" * (_MUCH // 4),
    "aA" * (_MUCH // 2),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_text_made_to_take_for_ever_does_not(text):
    """With patterns that try each way to divide a text this test does not end."""
    ours = [item(f"name_{n}", series=f"sensor_{n}.quantity_{n}") for n in range(100)] + [item(value="a " * 1000)]
    blames_identifiers(text, ours)
    says_throttled(text, ours)
