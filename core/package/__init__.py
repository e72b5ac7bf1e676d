"""`pantomime package`: the extension as one zip, with the solver's own packages or without. For development only."""
