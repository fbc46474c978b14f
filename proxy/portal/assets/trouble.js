// What can go wrong in a browser, and what the person can do about it.

// Told is an error whose text is for the person. It is calm if nothing is wrong, and lost
// if the server may not know what it was told.
export class Told extends Error {
  constructor(message, { calm = false, lost = false } = {}) {
    super(message);
    this.calm = calm;
    this.lost = lost;
  }
}

// Refused is a refusal of the server's.
export class Refused extends Told {
  constructor(answer, httpStatus) {
    super(answer.message || "The server could not do that now. Wait a moment, then try again.");
    this.status = httpStatus;
    this.code = answer.error;
    this.incident = answer.incident;
    this.next = answer.next;
  }
}

// inApp guesses whether the page is shown inside another app. Nothing depends on it but words.
function inApp() {
  const agent = navigator.userAgent;
  return /\bFB(AN|AV|_IAB)|Instagram|LinkedInApp|\bLine\/|MicroMessenger|Twitter|Snapchat|TikTok|musical_ly|Slack_SSB|\bTeams\/|GSA\/|; wv\)/.test(agent) ||
    (/iPhone|iPad/.test(agent) && /AppleWebKit/.test(agent) && !/Safari\//.test(agent));
}

// unsupported is why there can be no ceremony in this browser, or "".
export function unsupported() {
  if (window.PublicKeyCredential && navigator.credentials && navigator.credentials.create && navigator.credentials.get) return "";
  if (window.isSecureContext === false) return "insecure_page";
  return inApp() ? "in_app_browser" : "no_webauthn";
}

const elsewhere = "Passkeys do not work inside this app. Open the page in your browser: look for “Open in browser” in the app's menu, or open the link again in Chrome, Edge, Firefox or Safari.";

const key = "If you use a security key, it needs a PIN: set one in your computer's settings, or when the browser asks. A key that only knows U2F is too old for this.";

// explain turns what went wrong into what to do next. Browsers report a cancelled prompt,
// a key without a PIN and a missing passkey with one and the same name.
export function explain(name, page) {
  const creating = page === "enroll";
  const nothing = creating ? "The passkey was not created" : page === "confirm" ? "Nothing was confirmed" : "You were not verified";
  switch (name) {
    case "cancelled":
      return "You cancelled it, and nothing was changed. Press the button when you are ready.";
    case "timed_out":
      return "That took too long, so your browser closed the request. Try again when you are ready, and have your device or security key at hand.";
    case "NotAllowedError":
      if (inApp()) return nothing + ". " + elsewhere;
      return creating
        ? nothing + ": the request was cancelled or not allowed. Try again, and confirm with your fingerprint, face or device PIN. " + key
        : nothing + ": the request was cancelled, or no passkey for this site was found on this device. Try again, and choose the device or security key that holds your passkey.";
    case "InvalidStateError":
      return creating
        ? "This device or security key already holds a passkey for you, so you need not create one here. Sign in with it, or choose another device or security key in the browser's window."
        : "This passkey cannot be used here. Choose another device or security key that holds a passkey of yours.";
    case "NotSupportedError":
    case "ConstraintError":
      return "This device cannot check that it is you (fingerprint, face or PIN). Set up a screen lock, or use another device or a security key. " + key;
    case "NotReadableError":
    case "UnknownError":
    case "OperationError":
    case "TimeoutError":
    case "NetworkError":
      return nothing + ": your device, security key or password manager did not answer as it should. Unplug the key and plug it in again, or unlock the password manager, then try again. If it goes on, choose another device.";
    case "SecurityError":
      return inApp() ? nothing + ". " + elsewhere
        : "The browser refused, because this page's address does not match the one that passkeys are set up for. Open the usual address; if that does not help, tell your security team.";
    case "AbortError":
      return "The request was interrupted, perhaps by another tab. Try again.";
    case "encode":
      return nothing + ": your browser or password manager gave an answer that cannot be read. Choose another place for the passkey in the browser's window, switch the password manager's extension off for this site, or use another browser.";
    case "in_app_browser":
      return elsewhere;
    case "insecure_page":
      return "Passkeys need a secure page, and this one is not: its address has to begin with https. Open the usual address; if that does not help, tell your security team.";
    case "no_webauthn":
      return "This browser cannot use passkeys: it is too old, or they are switched off. Use a current version of Chrome, Edge, Firefox or Safari.";
    default:
      return "Something went wrong in this browser. Reload the page and try again; if it happens again, use another browser.";
  }
}
