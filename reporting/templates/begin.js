
watchClipped();
watchCopy();
watchDownloads();
addEventListener("beforeprint", openForPaper);
Promise.all([drawPlots(), showSamples()]).then(() => { document.body.dataset.complete = ""; });
