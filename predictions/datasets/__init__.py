"""Images and labels that come in and go out by the thousand: folders, zip files, CSV and JSON Lines."""
