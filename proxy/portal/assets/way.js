// Keeps the address of this page, which is too long to be a part of another one, in the storage of this
// tab, and takes it out again on the way back. What the storage says is not believed: it can only
// lead to this host.
const link = document.querySelector("a[data-way]");
const prefix = "sallyport way ";
const linked = "linked "; // before an address that another page may have chosen

function storage(use) {
  try {
    return use(sessionStorage);
  } catch {
    return null; // switched off or full: the way back is the shorter one
  }
}

// forget removes what earlier ways have left, so that it cannot add up.
function forget(s) {
  for (const key of Object.keys(s)) if (key.startsWith(prefix)) s.removeItem(key);
}

function keep() {
  const id = String(crypto.getRandomValues(new Uint32Array(2)).join("-"));
  const kept = storage((s) => {
    forget(s);
    s.setItem(prefix + id, ("linked" in link.dataset ? linked : "") + location.href);
    return true;
  });
  const to = new URL(link.href);
  if (kept) to.searchParams.set("return_to", to.searchParams.get("return_to") + "&way=" + id);
  return to.href;
}

function back() {
  const id = new URLSearchParams(location.search).get("way");
  const kept = storage((s) => s.getItem(prefix + id)) || "";
  const own = !kept.startsWith(linked);
  try {
    const address = new URL(own ? kept : kept.slice(linked.length));
    if (address.origin === location.origin) {
      if (own) storage(forget);
      return { address: address.href, own };
    }
  } catch {
    // nothing was kept, or not here: a sign-in that was finished in another tab, or a link that another page has made
  }
  return { address: link.href + location.hash, own: false };
}

if (link.dataset.way === "keep") {
  location.replace(keep());
} else {
  const { address, own } = back();
  link.href = address;
  // What goes from here by itself is a link of the tool's own, with its SameSite=Strict cookies.
  if (own) location.replace(address);
}
