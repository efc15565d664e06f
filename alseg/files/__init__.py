"""All writing to disk: a file whole or not at all, and never over one that is the user's."""

from alseg.files.contents import (
    as_utf8,
    csv_text,
    defuse,
    json_text,
    jsonable,
    read_json,
)
from alseg.files.digests import add_array, digest_of, file_digest
from alseg.files.flat_arguments import PLACES as FLAT_PLACES
from alseg.files.flat_arguments import flat_settings, nested_names
from alseg.files.growing import AppendOnly, lock
from alseg.files.identifiers import file_name, file_names
from alseg.files.objects import (
    current_name,
    describe_callable,
    describe_object,
    is_json,
    name_of_kind,
    resolve_callable,
    resolve_class,
    resolve_object,
)
from alseg.files.own import LEDGER, OwnFolder
from alseg.files.places import (
    FolderInUse,
    NotOurs,
    OutsideFolder,
    RecordsError,
    check_inside,
    naming,
)
from alseg.files.whole import (
    files_below,
    has_marker,
    is_temporary,
    make_folder,
    remove_files,
    remove_tree,
    replacing,
    sweep,
    write_bytes,
    write_json,
    write_text,
)

__all__ = [
    "FLAT_PLACES",
    "flat_settings",
    "nested_names",
    "AppendOnly",
    "FolderInUse",
    "LEDGER",
    "NotOurs",
    "OutsideFolder",
    "OwnFolder",
    "RecordsError",
    "add_array",
    "as_utf8",
    "check_inside",
    "csv_text",
    "current_name",
    "defuse",
    "digest_of",
    "file_digest",
    "file_name",
    "file_names",
    "files_below",
    "has_marker",
    "is_temporary",
    "json_text",
    "jsonable",
    "lock",
    "make_folder",
    "name_of_kind",
    "naming",
    "read_json",
    "remove_files",
    "remove_tree",
    "replacing",
    "sweep",
    "write_bytes",
    "write_json",
    "write_text",
]
