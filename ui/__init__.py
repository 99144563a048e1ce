"""The web page: layout and wiring only; everything it shows comes from run folders."""
