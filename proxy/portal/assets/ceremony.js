// Runs one WebAuthn ceremony: asks the server for options, hands them to the
// browser, posts the answer, and goes where the server says. Everything shown is
// set as text, never as markup.
const form = document.querySelector("form[data-ceremony]");
const button = form.querySelector("button[data-action]");
const status = document.getElementById("status");
const problem = document.getElementById("problem");
const label = button.textContent;

function show(text) {
  problem.textContent = text;
  problem.hidden = text === "";
}

function busy(text) {
  status.textContent = text;
  button.disabled = text !== "";
  button.setAttribute("aria-busy", String(text !== ""));
  button.textContent = text === "" ? label : "Please wait…";
}

class Refused extends Error {
  constructor(answer, httpStatus) {
    super(answer.message || "The server refused (" + httpStatus + ").");
    this.incident = answer.incident;
    this.next = answer.next;
  }
}

async function post(url, body) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      credentials: "same-origin",
      redirect: "error",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server could not be reached. Check your connection, then try again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(answer, response.status);
  return answer;
}

// explain turns what went wrong into what to do next. Browsers report a cancelled
// prompt, a timeout and a missing passkey with one and the same error name.
function explain(error, enrolling, waited, timeout) {
  switch (error.name) {
    case "NotAllowedError":
      if (timeout && waited >= timeout - 1000) return "That took too long, so the request was closed. Try again when you are ready.";
      return enrolling
        ? "The passkey was not created: the request was cancelled or not allowed. Try again, and confirm with your fingerprint, face or device PIN."
        : "You were not verified: the request was cancelled, or no passkey for this site was found on this device. Try again, and choose the device or security key that holds your passkey.";
    case "InvalidStateError":
      return enrolling ? "This device already holds a passkey for you. Use it to sign in, or choose another device or security key." : "This passkey cannot be used here.";
    case "NotSupportedError":
    case "ConstraintError":
      return "This device cannot check that it is you (fingerprint, face or PIN). Set up a screen lock, or use another device or a security key with a PIN.";
    case "SecurityError":
      return "The browser refused because this page's address does not match the one passkeys are set up for. Open the usual address; if that does not help, tell your security team.";
    case "AbortError":
      return "The request was interrupted. Try again.";
    default:
      return error.message || "Something went wrong. Try again.";
  }
}

async function run() {
  const enrolling = form.dataset.ceremony === "enroll";
  const context = { ticket: form.dataset.ticket, return_to: form.dataset.returnTo, bind: form.dataset.bind };
  let started = 0, timeout = 0;
  show("");
  busy("Preparing…");
  try {
    const begun = await post(form.dataset.begin, context);
    const options = begun.options.publicKey || begun.options;
    timeout = options.timeout || 0;
    started = performance.now();
    busy("Follow the prompt of your browser or device.");
    const credential = enrolling
      ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) })
      : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
    busy("Checking…");
    const name = form.elements.namedItem("name");
    const done = await post(form.dataset.finish, {
      ...context, ceremony: begun.ceremony, credential: credential.toJSON(), name: name ? name.value : "",
      time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone || "",
    });
    busy("Done. Taking you back…");
    location.assign(done.next);
  } catch (error) {
    busy("");
    const reference = error.incident ? " (reference " + error.incident + ")" : "";
    show(explain(error, enrolling, performance.now() - started, timeout) + reference);
    button.focus();
    if (error.next) location.assign(error.next);
  }
}

if (!window.PublicKeyCredential || !PublicKeyCredential.parseRequestOptionsFromJSON) {
  show("This browser is too old to use passkeys. Please use a current version of Chrome, Edge, Firefox or Safari.");
} else {
  button.disabled = false;
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
