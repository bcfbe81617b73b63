"""The Faust apps. `decide` turns frames of events into decisions and warnings."""
