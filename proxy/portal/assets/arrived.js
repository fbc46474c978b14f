// Goes on to the tool, with what stands behind "#".
const { href } = document.querySelector("main a.button");
location.replace(href.includes("#") ? href : href + location.hash);
