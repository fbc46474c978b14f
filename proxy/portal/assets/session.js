// For the pages of a tool, which include it as <script src="/.sallyport/session.js"></script>. It notices that the person is
// not signed in any more, or has to verify to go on, while the page stays open, tells the tool by an event, and shows a
// banner unless the tool prevents it. See examples/README.md.
//
// It asks /.sallyport/whoami when the page is loaded and comes to the front, when another tab has signed in, and when a request of the
// page got 401; never by the clock, and less and less often if the tool has a 401 of its own. It is a classic script without
// inline style or markup, so that a tool's strict content security policy need not be loosened.
(() => {
  "use strict";
  const pages = "/.sallyport/";
  const gap = 2_000; // between two questions
  const longest = 600_000;
  const quiet = document.currentScript?.dataset.banner === "off";

  let person = ""; // whose page this is
  let out = false;
  let stepUp = false; // they have been told to verify
  let timer = 0;
  let due = Infinity; // when it goes off
  let asking = false;
  let again = false; // something has changed meanwhile
  let asked = -gap;
  let cause = ""; // the path of a request that got 401 and is not asked about yet
  let refused = ""; // the path of what was refused, until it is not any more
  let page = false; // the page itself is to be asked about
  let patience = gap; // for a 401 that turns out to be the tool's
  let host = null;

  // ask returns who is signed in, "" for no one, and whether they have to verify for a path; null for no answer.
  async function ask(path) {
    try {
      const response = await fetch(pages + "whoami?page=" + encodeURIComponent(path), { credentials: "same-origin", redirect: "error", cache: "no-store", headers: { Accept: "application/json" } });
      if (response.status === 401) return { user: "" };
      if (!response.ok) return null;
      const who = await response.json();
      return who.level === "verified" ? { user: String(who.user), due: who.step_up_due === true } : { user: "" };
    } catch {
      return null;
    }
  }

  // check asks soon: about the path of a request that got 401, or about the page.
  function check(wait = gap, path = "") {
    if (document.visibilityState !== "visible") return;
    if (path) cause = path;
    else page = true;
    const at = Math.max(performance.now(), asked + wait);
    if (asking) again = true;
    if (asking || at >= due) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(run, at - performance.now());
  }

  async function run() {
    due = Infinity;
    asked = performance.now();
    asking = true;
    // What got 401 says more than the page: only a part of the tool may want a step-up.
    const because = cause;
    cause = "";
    refused = because || refused;
    const own = !refused;
    if (own) page = false;
    const who = await ask(refused || location.pathname);
    asking = false;
    if (who !== null) {
      patience = because && who.user && !who.due ? Math.min(patience * 2, longest) : gap;
      if (!who.due) refused = "";
      settle(who.user);
      if (who.user && !out && who.user === person) remind(who.due);
      again ||= !own && page && who.user !== "" && !who.due; // the page was not asked about yet
    }
    if (again) {
      again = false;
      check();
    }
  }

  function settle(who) {
    if (!who) {
      if (out || !person) return; // a page that is shown to everyone, or told before
      out = true;
      stepUp = false;
      tell("sallyport:signed-out", { user: person }, "You are signed out", "What you do on this page is not sent.", "Sign in in a new tab", pages + "sign-in?return_to=" + encodeURIComponent(pages + "go-back"));
      return;
    }
    const before = person;
    person ||= who;
    if (!out && who === person) return;
    out = false;
    hide();
    const same = who === before;
    person = who;
    tell("sallyport:signed-in", { user: who, same }, same ? "" : "You are signed in as " + who, "This page was opened by " + before + ". Reload it before you go on.");
  }

  function remind(due) {
    if (due === stepUp) return;
    stepUp = due;
    if (!due) hide();
    if (due) tell("sallyport:step-up", { user: person }, "Verify to go on", "What you do on this page may not be sent until you have verified with your passkey.", "Verify in a new tab", pages + "step-up?return_to=" + encodeURIComponent(pages + "go-back"));
    else tell("sallyport:verified", { user: person });
  }

  function tell(type, detail, title, text, action, to) {
    const event = new CustomEvent(type, { detail, cancelable: true });
    if (dispatchEvent(event) && title && !quiet) show(title, text, action, to);
  }

  const css = `
    :host { all: initial; position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483647; max-width: min(26rem, calc(100vw - 2rem)); color-scheme: light dark; }
    div { box-sizing: border-box; padding: 1rem 1.25rem; border: 1px solid #55606e; border-radius: .75rem; background: #fff; color: #16202c; font: 1rem/1.5 system-ui, sans-serif; box-shadow: 0 .25rem 1.5rem rgb(0 0 0 / .3); }
    p { margin: 0 0 .5rem; overflow-wrap: anywhere; }
    .title { font-weight: 650; }
    .actions { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0 0; }
    a, button { box-sizing: border-box; min-height: 2.75rem; padding: .55rem 1rem; border: 1px solid #1f5fbf; border-radius: .6rem; background: #1f5fbf; color: #fff; font: inherit; font-weight: 650; text-decoration: none; cursor: pointer; }
    button { background: none; border-color: #55606e; color: inherit; }
    :focus-visible { outline: 3px solid #b45f06; outline-offset: 2px; }
    @media (prefers-color-scheme: dark) {
      div { background: #19212b; color: #e8edf3; border-color: #a5b0bd; }
      a { background: #7fb0ff; border-color: #7fb0ff; color: #0b1830; }
      button { border-color: #a5b0bd; }
      :focus-visible { outline-color: #e0a100; }
    }
    @media print { :host { display: none; } }`;

  function element(name, text, set) {
    const e = document.createElement(name);
    e.textContent = text;
    return Object.assign(e, set);
  }

  function show(title, text, action, to) {
    hide();
    host = document.createElement("sallyport-session");
    host.lang = "en";
    const root = host.attachShadow({ mode: "open" });
    if ("adoptedStyleSheets" in root) {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(css);
      root.adoptedStyleSheets = [sheet];
    }
    const box = document.createElement("div");
    box.setAttribute("role", "alert");
    root.append(box);
    document.body.append(host);
    const actions = element("p", "", { className: "actions" });
    if (action) actions.append(element("a", action, { href: to, target: "_blank", rel: "noopener" }));
    actions.append(element("button", "Hide this", { type: "button", onclick: hide }));
    box.append(element("p", title, { className: "title" }), element("p", text), actions);
  }

  function hide() {
    host?.remove();
    host = null;
  }

  document.addEventListener("visibilitychange", () => check());
  for (const type of ["focus", "pageshow", "online", "sallyport:check"]) addEventListener(type, () => check());
  try {
    new BroadcastChannel("sallyport").addEventListener("message", () => check());
  } catch {
    // coming to the front is enough
  }
  try {
    new PerformanceObserver((list) => {
      const unauthorized = (e) => e.responseStatus === 401 && e.name.startsWith(location.origin + "/") && !e.name.startsWith(location.origin + pages);
      const entry = list.getEntries().find(unauthorized);
      if (!out && !stepUp && entry && !asking) check(patience, new URL(entry.name).pathname);
    }).observe({ type: "resource" });
  } catch {
    // the tool can say sallyport:check
  }
  check(0);
})();
