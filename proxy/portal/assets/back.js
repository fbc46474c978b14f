// Tells the tabs of this tool that the person is signed in or has verified. They ask the server whether it is so.
try {
  new BroadcastChannel("sallyport").postMessage("changed");
} catch {
  // they find out when they come to the front
}
