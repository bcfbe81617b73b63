"""The monthly report as one HTML page: `page`, its charts as SVG (`charts`), harmless text (`text`)."""
