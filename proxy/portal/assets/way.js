// Keeps the address of this page, which is too long to be a part of another one, in the storage of this
// tab, and takes it out again on the way back. What the storage says is not believed: it can only
// lead to this host.
const link = document.querySelector("a[data-way]");
const prefix = "sallyport way ";

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
    s.setItem(prefix + id, location.href);
    return true;
  });
  const to = new URL(link.href);
  if (kept) to.searchParams.set("return_to", to.searchParams.get("return_to") + "&way=" + id);
  return to.href;
}

function back() {
  const id = new URLSearchParams(location.search).get("way");
  const kept = storage((s) => {
    const address = s.getItem(prefix + id);
    forget(s);
    return address;
  });
  try {
    if (new URL(kept).origin === location.origin) return kept;
  } catch {
    // nothing was kept, or not here: a sign-in that was finished in another tab
  }
  return link.href + location.hash;
}

location.replace(link.dataset.way === "keep" ? keep() : back());
