"""The monthly report as one HTML page: `page`, its charts as SVG (`charts`), and text made harmless (`text`)."""
