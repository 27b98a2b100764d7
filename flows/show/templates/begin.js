
watchClipped();
watchCopy();
watchDownloads();
Promise.all([drawPlots(), showSamples()]).then(() => { document.body.dataset.complete = ""; });
