"""A device's last readings, out of the pages of its state. Read by `web`; nobody waits for whoever looks."""

from sqlalchemy import Engine, func, select

from sensord.detection.device_pages import Glimpse, glimpse, has_device
from sensord.store.database import AS_SENT, reading
from sensord.store.schema import devices, state_pages

HEAD = 64 << 10  # bytes of a page's beginning, which names its devices


def last_readings(engine: Engine, fleet: str, device_id: str) -> Glimpse | None:
    """As of the last snapshot; None where there is none of this device. Raises StateUnreadable, StoreUnavailable."""
    d, s = devices.c, state_pages.c
    known = select(d.topic, d.partition).where(d.fleet == fleet, d.device_id == device_id)
    with reading(engine) as connection:
        place = connection.execute(known).one_or_none()
        if place is None:
            return None
        mine = (s.fleet == fleet, s.topic == place.topic, s.partition == place.partition, s.page >= 0)
        heads = select(s.page, func.substr(s.data, 1, HEAD).label("head")).where(*mine).order_by(s.page)
        for row in connection.execute(heads).all():
            if has_device(row.page, bytes(row.head), device_id) is not False:
                whole = select(s.data).where(*mine, s.page == row.page).execution_options(**{AS_SENT: True})
                found = glimpse(row.page, bytes(connection.execute(whole).scalar_one()), device_id)
                if found is not None:
                    return found
    return None
