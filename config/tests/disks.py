"""Disks that have room for so many writes and no more: under the files, and under the tables of PostgreSQL."""

import struct
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from config.tests.service import Service

PLENTY = 1_000_000_000  # writes
# Whoever writes, in whichever session, takes from the sequence, which no rollback gives back to. The error is the one
# that the server raises when it has no room, with its code.
ROOM = f"""
CREATE SEQUENCE room INCREMENT -1 MAXVALUE {PLENTY} START {PLENTY};
CREATE FUNCTION take_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('room') < 0 THEN
        RAISE disk_full USING MESSAGE = 'could not extend file "base/1/2": No space left on device';
    END IF;
    RETURN NULL;
END $$;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        EXECUTE format('CREATE TRIGGER room BEFORE INSERT OR UPDATE ON %I EXECUTE FUNCTION take_room()', name);
    END LOOP;
END $$;
"""


class Disk(ABC):
    """A disk with room."""

    @abstractmethod
    def leave(self, writes: int) -> None:
        """Have room for so many writes from now on."""

    @abstractmethod
    def is_full(self) -> bool:
        """Return whether a write was refused since."""


class FileDisk(Disk):
    """The disk below a folder, SQLite's too, for the processes that get its environment."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        library, self._room = scratch / "disk.so", scratch / "room"
        self._room.write_bytes(struct.pack("l", PLENTY))
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, Path(__file__).with_name("disk.c")], check=True)
        self.environment = {"LD_PRELOAD": str(library), "DISK_FOLDER": f"{folder}/", "DISK_ROOM": str(self._room)}

    def leave(self, writes: int) -> None:
        """Have room for so many writes from now on."""
        with self._room.open("r+b") as file:  # in place: the processes share it
            file.write(struct.pack("l", writes))

    def is_full(self) -> bool:
        """Return whether a write was refused since."""
        return bool(struct.unpack("l", self._room.read_bytes())[0] < 0)


class TableDisk(Disk):
    """The disk of a service's PostgreSQL, by statements that insert or update."""

    def __init__(self, service: Service) -> None:
        self._service = service
        service.query(ROOM)

    def leave(self, writes: int) -> None:
        """Have room for so many writes from now on."""
        self._service.query(f"SELECT setval('room', {writes})")

    def is_full(self) -> bool:
        """Return whether a write was refused since."""
        return bool(self._service.query("SELECT last_value < 0 FROM room")[0][0])
