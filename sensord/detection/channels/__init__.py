"""Event channels: small detectors beside the score, a file each. Their order is their precedence in naming an alert.

A new one is a file here that fulfils `contract.EventChannel`, and a line below.
"""

from sensord.detection.channels.contract import EventChannel
from sensord.detection.channels.off_profile import OffProfile
from sensord.detection.channels.out_of_range import OutOfRange
from sensord.detection.channels.spike import Spike
from sensord.detection.channels.stuck import Stuck

EVENT_CHANNELS: tuple[EventChannel, ...] = (
    Stuck(),
    OutOfRange(),
    Spike(),
    OffProfile(),
)
