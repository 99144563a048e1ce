"""Publishing an exported model on the Hugging Face hub, with its card. Touches no credentials: the hub's client has its own."""

from __future__ import annotations

from pathlib import Path

from erase.errors import InputError

LOGIN = "log in with `hf auth login`, and give a name that is yours, as OWNER/NAME"


def push(path: Path, name: str, card: str, public: bool = False) -> str:
    """Upload a folder or a file with its model card (README.md) to the repository `name`; returns its address.

    A new repository is private unless `public`. InputError where the hub refuses or cannot be reached; what was
    uploaded before stays, and the same command resumes.
    """
    from huggingface_hub import HfApi

    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"--push-to-hub {name!r} is not the name of a repository; expected OWNER/NAME", option="push_to_hub")
    api = HfApi()
    try:
        address = api.create_repo(name, private=not public, exist_ok=True)
        if path.is_dir():
            api.upload_folder(repo_id=name, folder_path=path, ignore_patterns=["README.md"], commit_message="Weights, concept erased")
        else:
            api.upload_file(repo_id=name, path_or_fileobj=path, path_in_repo=path.name, commit_message="Weights, concept erased")
        api.upload_file(repo_id=name, path_or_fileobj=card.encode(), path_in_repo="README.md", commit_message="Model card")
    except Exception as error:  # the hub's client raises a dozen kinds; each means that the upload failed
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise InputError(f"--push-to-hub {name} failed ({type(error).__name__}: {reason}); {LOGIN}", option="push_to_hub") from error
    return str(address)
