// Goes on to the tool, with what stands behind "#". Where another page may have chosen the address, the person does: what
// goes from here by itself is a link of the tool's own.
const link = document.querySelector("main a.button");
if (!link.href.includes("#")) link.href += location.hash;
if (!("press" in link.dataset)) location.replace(link.href);
