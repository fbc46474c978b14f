// A page about a person. Browsers may show it from memory when they press Back, as it was, in spite of Cache-Control: no-store
// (Chromium, for three minutes). The session may have been ended from elsewhere meanwhile, and the one who presses need
// not be the person: so it is asked for again.
addEventListener("pageshow", (event) => event.persisted && location.reload());
